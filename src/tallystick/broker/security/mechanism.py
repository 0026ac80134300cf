"""What every SASL mechanism is to the rest: an exchange of tokens that ends in a principal or in a refusal.

Owns: the port. Must not know: the mechanisms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tallystick.broker.security.principal import Principal
from tallystick.errors import TallystickError


class AuthenticationFailed(TallystickError):
    """The client did not prove who it is. ``reason`` is None if the reason would help to guess."""

    def __init__(self, reason: str | None = None) -> None:
        self.reason = reason
        super().__init__(reason or "invalid credentials")


@dataclass(frozen=True, slots=True)
class Step:
    """A token for the client; with the last one comes who it is."""

    token: bytes
    principal: Principal | None = None


class Exchange(Protocol):
    """One client's way through one mechanism."""

    def step(self, token: bytes) -> Step:
        """Take the client's token; ``AuthenticationFailed`` ends it."""
        ...
