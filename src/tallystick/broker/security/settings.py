"""What security is told, under Apache Kafka's names: ``ssl_keystore_type`` is ``ssl.keystore.type``.

Owns: the values, their defaults and the checks that need one of them only. Must not know: where they come from.

Defaults are Apache Kafka's, except where a docstring gives the reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tallystick.broker.security.principal import Principal, parse_principal
from tallystick.errors import ConfigurationError

STANDARD_AUTHORIZER: Final = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
PEM: Final = "PEM"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSettings:
    """The doors. Without ``listeners`` there is one, at the address that the broker's options name."""

    listeners: tuple[str, ...] = ()
    advertised_listeners: tuple[str, ...] = ()
    listener_security_protocol_map: tuple[str, ...] = ()
    controller_listener_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSettings:
    """Bounds on what comes in.

    ``max_connections`` is 4,000 here: the limit must lie below the number of files that a process may have open.
    ``queued_max_request_bytes`` is 256 MiB here and unbounded in Apache Kafka: requests that are read or worked at, and
    answers that are not sent yet, never take much more, over all connections. ``sasl_server_max_receive_size``, 16 KiB
    here, bounds every frame of a connection that has not authenticated.
    """

    max_connections: int = 4_000
    max_connections_per_ip: int = 2**31 - 1
    max_connections_per_ip_overrides: tuple[str, ...] = ()
    connections_max_idle_ms: int = 600_000
    socket_request_max_bytes: int = 100 * 1024 * 1024
    queued_max_request_bytes: int = 256 * 1024 * 1024
    sasl_server_max_receive_size: int = 16 * 1024
    connection_failed_authentication_delay_ms: int = 100

    def per_ip(self, host: str) -> int:
        """How many connections one address may have."""
        for override in self.max_connections_per_ip_overrides:
            name, _, limit = override.rpartition(":")
            if name.strip("[]") == host:
                return _count(override, limit)
        return self.max_connections_per_ip

    def __post_init__(self) -> None:
        for override in self.max_connections_per_ip_overrides:
            _count(override, override.rpartition(":")[2])


def _count(override: str, limit: str) -> int:
    if not limit.strip().isdecimal():
        raise ConfigurationError(f"max.connections.per.ip.overrides has {override!r}, which is not address:count")
    return int(limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class SaslSettings:
    """Names and passwords. All three mechanisms that this broker knows are on; Apache Kafka's default is Kerberos.

    ``sasl_jaas_config`` may hold users of PLAIN in Java's form (``user_alice="secret"``). ``users_file`` is a file of
    lines ``name:password``; it has no name in Apache Kafka.
    """

    sasl_enabled_mechanisms: tuple[str, ...] = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
    sasl_jaas_config: str | None = field(default=None, repr=False)
    connections_max_reauth_ms: int = 0
    users_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """Certificates, in PEM only.

    ``tls_cert``, ``tls_key`` and ``tls_client_ca`` are the same things in files of their own; they have no name in
    Apache Kafka, whose keystore file holds key and certificates together. ``tls_client_ca`` makes a client's
    certificate a must.
    """

    ssl_keystore_type: str = PEM
    ssl_keystore_location: str | None = None
    ssl_keystore_key: str | None = field(default=None, repr=False)
    ssl_keystore_certificate_chain: str | None = None
    ssl_key_password: str | None = field(default=None, repr=False)
    ssl_truststore_type: str = PEM
    ssl_truststore_location: str | None = None
    ssl_truststore_certificates: str | None = None
    ssl_client_auth: str = "none"
    ssl_enabled_protocols: tuple[str, ...] = ("TLSv1.2", "TLSv1.3")
    ssl_cipher_suites: tuple[str, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None

    @property
    def client_auth(self) -> str:
        """``required``, ``requested`` or ``none``."""
        return "required" if self.tls_client_ca is not None else self.ssl_client_auth


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizerSettings:
    """Access control. Without ``authorizer_class_name`` everybody may do everything, as in Apache Kafka."""

    authorizer_class_name: str = ""
    super_users: str = ""
    allow_everyone_if_no_acl_found: bool = False

    @property
    def is_on(self) -> bool:
        return bool(self.authorizer_class_name)

    def super_principals(self) -> frozenset[Principal]:
        """``super_users``, read: principals separated by semicolons."""
        found = set()
        for part in filter(None, (text.strip() for text in self.super_users.split(";"))):
            principal = parse_principal(part)
            if principal is None:
                raise ConfigurationError(
                    f"super.users has {part!r}, which is no principal", remedy="For example User:admin;User:ops."
                )
            found.add(principal)
        return frozenset(found)

    def __post_init__(self) -> None:
        if self.authorizer_class_name not in ("", STANDARD_AUTHORIZER):
            raise ConfigurationError(
                f"authorizer.class.name is {self.authorizer_class_name!r}",
                remedy=f"Only {STANDARD_AUTHORIZER} is built in.",
            )
        self.super_principals()


@dataclass(frozen=True, slots=True, kw_only=True)
class SecuritySettings:
    """All of it together."""

    listeners: ListenerSettings = ListenerSettings()
    connections: ConnectionSettings = ConnectionSettings()
    sasl: SaslSettings = SaslSettings()
    tls: TlsSettings = TlsSettings()
    authorizer: AuthorizerSettings = AuthorizerSettings()
