"""Listeners: where the broker listens, how a client proves itself there, and what clients are told to connect to.

Owns: reading Kafka's ``listeners``, ``advertised.listeners`` and ``listener.security.protocol.map``, and the refusal to
listen beyond loopback without TLS and authentication. Must not know: sockets, certificates.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tallystick.broker.security.settings import ListenerSettings
from tallystick.errors import ConfigurationError
from tallystick.listening import is_loopback

LOOPBACK: Final = "127.0.0.1"


class SecurityProtocol(enum.StrEnum):
    """How a listener protects a connection and names its client."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"

    @property
    def has_tls(self) -> bool:
        return self in (SecurityProtocol.SSL, SecurityProtocol.SASL_SSL)

    @property
    def has_sasl(self) -> bool:
        return self in (SecurityProtocol.SASL_PLAINTEXT, SecurityProtocol.SASL_SSL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One door. ``port`` 0 is any free port. Clients are told ``advertised_host``, and the port that is listened on
    unless ``advertised_port`` says another."""

    name: str
    protocol: SecurityProtocol
    host: str
    port: int
    advertised_host: str
    advertised_port: int | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.name}://{host}:{self.port}"


def plaintext_listener(host: str, port: int) -> Listener:
    """The one listener of a broker that is told nothing else."""
    return Listener(name="PLAINTEXT", protocol=SecurityProtocol.PLAINTEXT, host=host, port=port, advertised_host=host)


def parse_address(text: str, *, setting: str) -> tuple[str, int]:
    """Host and port of ``host:port`` or ``[::1]:port``; no host is 127.0.0.1, and so is ``localhost``."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ConfigurationError(f"{setting} {text!r} is not host:port", remedy="For example 127.0.0.1:9092.")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ConfigurationError(f"{setting} {text!r} is not host:port", remedy="An IPv6 address stands in brackets.")
    host = host.removeprefix("[").removesuffix("]")
    return (LOOPBACK if host in ("", "localhost") else host), int(port)


def read_listeners(settings: ListenerSettings) -> tuple[Listener, ...]:
    """Every listener that the settings name, in their order. ``ConfigurationError`` if they contradict each other."""
    protocols = _protocols(settings.listener_security_protocol_map)
    advertised = dict(_named_addresses(settings.advertised_listeners, setting="advertised.listeners"))
    controllers = set(settings.controller_listener_names)
    made: list[Listener] = []
    for name, (host, port) in _named_addresses(settings.listeners, setting="listeners"):
        if name in controllers:  # a controller's door: there is no other controller, so it stays shut
            continue
        if name not in protocols:
            raise ConfigurationError(
                f"listeners has {name!r}, which is no security protocol",
                remedy=f"Name it in listener.security.protocol.map, or use one of {', '.join(SecurityProtocol)}.",
            )
        told_host, told_port = advertised.pop(name, (host, None))
        made.append(
            Listener(
                name=name,
                protocol=protocols[name],
                host=host,
                port=port,
                advertised_host=told_host,
                advertised_port=told_port or None,
            )
        )
    if unknown := sorted(set(advertised) - controllers):
        raise ConfigurationError(f"advertised.listeners has {unknown[0]!r}, which listeners does not have")
    if not made:
        raise ConfigurationError("listeners names no listener that clients can use")
    return tuple(made)


def check_exposure(listeners: Iterable[Listener], *, client_certificates: bool) -> None:
    """Refuse a listener that others can reach and that lacks TLS or authentication.

    ``client_certificates``: whether TLS asks every client for a certificate, which is authentication, too.
    """
    for listener in listeners:
        if is_loopback(listener.host):
            continue
        protocol = listener.protocol
        if not protocol.has_tls or not (protocol.has_sasl or client_certificates):
            lacks = "authentication" if protocol.has_tls else "TLS" if protocol.has_sasl else "TLS and authentication"
            raise ConfigurationError(
                f"listener {listener} can be reached by others and lacks {lacks}",
                remedy=(
                    "Use SASL_SSL (with --tls-cert and --tls-key, or ssl.keystore.location, and users), or SSL with "
                    "--tls-client-ca (or ssl.client.auth=required), or listen on 127.0.0.1 or [::1]."
                ),
            )
        if listener.advertised_host == listener.host and _is_any(listener.host):
            raise ConfigurationError(
                f"listener {listener} needs an address that clients can use",
                remedy=f"For example --advertise {listener.name}://broker.example.org:{listener.port or 9093}.",
            )


def _is_any(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _protocols(entries: Iterable[str]) -> dict[str, SecurityProtocol]:
    found = {str(protocol): protocol for protocol in SecurityProtocol}
    for entry in entries:
        name, colon, protocol = (part.strip() for part in entry.partition(":"))
        if not colon or protocol not in SecurityProtocol.__members__:
            raise ConfigurationError(
                f"listener.security.protocol.map has {entry!r}",
                remedy=f"For example OUTSIDE:SASL_SSL; the protocols are {', '.join(SecurityProtocol)}.",
            )
        found[name] = SecurityProtocol(protocol)
    return found


def _named_addresses(entries: Iterable[str], *, setting: str) -> list[tuple[str, tuple[str, int]]]:
    found: dict[str, tuple[str, int]] = {}
    for entry in entries:
        name, slashes, address = entry.strip().partition("://")
        if not slashes or not name:
            raise ConfigurationError(f"{setting} has {entry!r}", remedy="For example SASL_SSL://0.0.0.0:9093.")
        name = name.upper()
        if name in found:
            raise ConfigurationError(f"{setting} has {name!r} twice; give one another name")
        found[name] = parse_address(address, setting=setting)
    return list(found.items())
