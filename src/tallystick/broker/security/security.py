"""Security put together: the listeners, what protects them, and who may come in through which.

Owns: the assembly and its checks. Must not know: sockets, the protocol's encoding.
"""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog

from tallystick.broker.security import plain
from tallystick.broker.security.authentication import Authentication
from tallystick.broker.security.authorizer import Authorizer
from tallystick.broker.security.listeners import Listener, check_exposure, read_listeners
from tallystick.broker.security.mechanism import Exchange
from tallystick.broker.security.scram import BY_NAME, NONCE_BYTES, ScramMechanism, ScramServer
from tallystick.broker.security.settings import SecuritySettings
from tallystick.broker.security.store import SecurityStore
from tallystick.broker.security.tls import server_context
from tallystick.broker.security.users import given_users
from tallystick.errors import ConfigurationError
from tallystick.listening import is_loopback

logger = structlog.get_logger(__name__)

MECHANISMS: Final = (plain.NAME, *BY_NAME)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Settings that were checked, and what was read for them. ``tls`` is None if no listener has TLS."""

    settings: SecuritySettings
    listeners: tuple[Listener, ...]
    tls: ssl.SSLContext | None
    plain_users: Mapping[str, str] = field(repr=False)


def prepare(settings: SecuritySettings, default: Listener) -> Prepared:
    """Check the settings and read the files they name, before anything is opened or locked.

    The listeners are those of the settings, else the default one. Raises ``ConfigurationError`` for what cannot work,
    and for what would leave the broker open to others.
    """
    listeners = read_listeners(settings.listeners) if settings.listeners.listeners else (default,)
    check_exposure(listeners, client_certificates=settings.tls.client_auth == "required")
    if not settings.sasl.sasl_enabled_mechanisms and any(listener.protocol.has_sasl for listener in listeners):
        raise ConfigurationError("a listener wants SASL, and sasl.enabled.mechanisms is empty")
    for name in settings.sasl.sasl_enabled_mechanisms:
        if name not in MECHANISMS:
            raise ConfigurationError(
                f"sasl.enabled.mechanisms has {name!r}", remedy=f"This broker has {', '.join(MECHANISMS)}."
            )
    has_tls = any(listener.protocol.has_tls for listener in listeners)
    return Prepared(
        settings=settings,
        listeners=listeners,
        tls=server_context(settings.tls) if has_tls else None,
        plain_users=given_users(settings.sasl),
    )


class Security:
    """What the server asks."""

    def __init__(self, prepared: Prepared, store: SecurityStore) -> None:
        self.settings = settings = prepared.settings
        self.listeners = prepared.listeners
        self.tls = prepared.tls
        self.store = store
        self.authorizer: Authorizer | None = None
        if settings.authorizer.is_on:
            self.authorizer = Authorizer(
                store.acls,
                super_users=settings.authorizer.super_principals(),
                allow_if_no_acl=settings.authorizer.allow_everyone_if_no_acl_found,
            )
        has_sasl = any(listener.protocol.has_sasl for listener in self.listeners)
        fresh_key = secrets.token_bytes(32)
        self._decoy_key = store.decoy_key(fresh_key) if has_sasl else fresh_key
        self._exchanges = self._make_exchanges(settings.sasl.sasl_enabled_mechanisms)
        if store.credentials.is_empty and has_sasl:
            logger.warning("a listener wants passwords, and there is no user; make one with `tallystick users add`")
        if self.authorizer is None and not all(is_loopback(listener.host) for listener in self.listeners):
            logger.warning(
                "there are no access control lists: whoever logs in may do everything, also change others' passwords",
                remedy="--acls, or authorizer.class.name",
            )

    def _make_exchanges(self, names: tuple[str, ...]) -> Mapping[str, Callable[[], Exchange]]:
        credentials = self.store.credentials
        exchanges: dict[str, Callable[[], Exchange]] = {}
        for name in names:
            if name == plain.NAME:
                exchanges[name] = lambda: plain.PlainServer(credentials.is_password)
            else:
                exchanges[name] = self._scram_exchange(BY_NAME[name])
        return exchanges

    def _scram_exchange(self, mechanism: ScramMechanism) -> Callable[[], Exchange]:
        def make() -> Exchange:
            return ScramServer(
                mechanism,
                lambda user: self.store.credentials.find(mechanism, user),
                nonce=secrets.token_urlsafe(NONCE_BYTES),
                decoy_key=self._decoy_key,
                like=lambda user: self.store.credentials.like(mechanism, user),
            )

        return make

    def authentication(self, listener: Listener) -> Authentication | None:
        """The state of a new connection on a listener that wants SASL; None on one that does not."""
        if not listener.protocol.has_sasl:
            return None
        return Authentication(self._exchanges, session_ms=self.settings.sasl.connections_max_reauth_ms)

    def close(self) -> None:
        """Close what is kept in files."""
        self.store.close()
