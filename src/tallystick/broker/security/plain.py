"""SASL PLAIN (RFC 4616): a name and a password in one message.

Owns: the message. Must not know: where passwords are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tallystick.broker.security.mechanism import AuthenticationFailed, Step
from tallystick.broker.security.principal import user

NAME: Final = "PLAIN"
_PARTS: Final = 3

IsPassword = Callable[[str, str], bool]
"""Name and password to: is it this user's? Takes as long for a name that does not exist."""


class PlainServer:
    """The one step of the exchange."""

    def __init__(self, is_password: IsPassword) -> None:
        self._is_password = is_password

    def step(self, token: bytes) -> Step:
        """Check name and password; ``AuthenticationFailed`` if they do not belong together."""
        try:
            parts = token.decode().split("\0")
        except UnicodeDecodeError:
            raise AuthenticationFailed("the PLAIN message is not UTF-8") from None
        if len(parts) != _PARTS:
            raise AuthenticationFailed("the PLAIN message is not three parts with a NUL between them")
        authorization_id, name, password = parts
        if not name or not password:
            raise AuthenticationFailed("the PLAIN message lacks a user name or a password")
        if not self._is_password(name, password):
            raise AuthenticationFailed
        if authorization_id not in ("", name):
            raise AuthenticationFailed("acting for another user is not supported")
        return Step(b"", principal=user(name))
