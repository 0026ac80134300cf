"""Security on the command line of ``tallystick broker``, turned into settings.

Owns: the options' names and what they stand for. Must not know: typer, the process. No option takes a secret: a
command line is for everyone on the machine to see.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tallystick.broker.security.listeners import parse_address, read_listeners
from tallystick.broker.security.settings import (
    STANDARD_AUTHORIZER,
    AuthorizerSettings,
    ListenerSettings,
    SecuritySettings,
    TlsSettings,
)

DEFAULT_LISTEN = "127.0.0.1:9092"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityOptions:
    """The options as they were given."""

    listen: Sequence[str] = ()
    advertise: Sequence[str] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    users: Path | None = None
    acls: bool = False
    super_user: Sequence[str] = ()

    def address(self, settings: SecuritySettings) -> tuple[str, int]:
        """Host and port of the first listener; ``settings`` are those that ``settings`` made."""
        if settings.listeners.listeners:
            first = read_listeners(settings.listeners)[0]
            return first.host, first.port
        text = self.listen[0] if self.listen else DEFAULT_LISTEN
        return parse_address(text.rpartition("://")[2], setting="--listen")

    def settings(self, configs: SecuritySettings) -> SecuritySettings:
        """The configurations with these options in their place. ``ConfigurationError`` if a value is malformed.

        What contradicts is found when the broker starts.
        """
        return SecuritySettings(
            listeners=self._listeners(configs.listeners),
            connections=configs.connections,
            sasl=configs.sasl if self.users is None else replace(configs.sasl, users_file=self.users),
            tls=self._tls(configs.tls),
            authorizer=self._authorizer(configs.authorizer),
        )

    def _listeners(self, configs: ListenerSettings) -> ListenerSettings:
        if not self.listen and (configs.listeners or configs.advertised_listeners):
            return replace(
                configs,
                listeners=configs.listeners or (f"PLAINTEXT://{DEFAULT_LISTEN}",),
                advertised_listeners=tuple(self.advertise) or configs.advertised_listeners,
            )
        listeners: tuple[str, ...] = ()
        if len(self.listen) > 1 or self.advertise or any("://" in text for text in self.listen):
            given = self.listen or (DEFAULT_LISTEN,)
            listeners = tuple(text if "://" in text else f"PLAINTEXT://{text}" for text in given)
        return replace(configs, listeners=listeners, advertised_listeners=tuple(self.advertise))

    def _tls(self, configs: TlsSettings) -> TlsSettings:
        return replace(
            configs,
            tls_cert=self.tls_cert or configs.tls_cert,
            tls_key=self.tls_key or configs.tls_key,
            tls_client_ca=self.tls_client_ca or configs.tls_client_ca,
        )

    def _authorizer(self, configs: AuthorizerSettings) -> AuthorizerSettings:
        super_users = ";".join(name if ":" in name else f"User:{name}" for name in self.super_user)
        if not self.acls and not super_users:
            return configs
        return replace(
            configs, authorizer_class_name=STANDARD_AUTHORIZER, super_users=super_users or configs.super_users
        )


LISTEN_HELP = (
    "[NAME://]host:port, once for each listener; PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL; port 0 picks one."
)
ADVERTISE_HELP = "NAME://host:port that clients of a listener are told to connect to."
TLS_CERT_HELP = "PEM file of the certificate chain, for SSL and SASL_SSL."
TLS_KEY_HELP = "PEM file of its private key, if it is not in the same file."
TLS_CLIENT_CA_HELP = "PEM file of the authorities whose certificates clients must show."
USERS_HELP = "File of lines name:password, for SASL PLAIN."
ACLS_HELP = "Allow only what access control lists allow."
SUPER_USER_HELP = "A user who may do everything; turns access control lists on."


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options, for ``python -m tallystick.broker``."""
    parser.add_argument("--listen", action="append", metavar="[NAME://]HOST:PORT", help=LISTEN_HELP)
    parser.add_argument("--advertise", action="append", metavar="NAME://HOST:PORT", help=ADVERTISE_HELP)
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help=TLS_CERT_HELP)
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help=TLS_KEY_HELP)
    parser.add_argument("--tls-client-ca", type=Path, metavar="FILE", help=TLS_CLIENT_CA_HELP)
    parser.add_argument("--users", type=Path, metavar="FILE", help=USERS_HELP)
    parser.add_argument("--acls", action="store_true", help=ACLS_HELP)
    parser.add_argument("--super-user", action="append", metavar="NAME", help=SUPER_USER_HELP)


def read_options(given: argparse.Namespace) -> SecurityOptions:
    """What was given of them."""
    return SecurityOptions(
        listen=given.listen or (),
        advertise=given.advertise or (),
        tls_cert=given.tls_cert,
        tls_key=given.tls_key,
        tls_client_ca=given.tls_client_ca,
        users=given.users,
        acls=given.acls,
        super_user=given.super_user or (),
    )
