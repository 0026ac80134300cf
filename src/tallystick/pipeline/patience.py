"""Calling again after a retriable failure, with pauses that grow, a limit, and an ear for the stop signal.

Owns: ``Patience``, ``GaveUp`` and ``StopAsked``. Must not know: what is called.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog

from tallystick.clock import Clock
from tallystick.errors import FatalError, RetriableError

log = structlog.get_logger(__name__)

R = TypeVar("R")


class GaveUp(FatalError):
    """A limit on tries or time is reached: the worker stops, and whoever supervises it decides."""


class StopAsked(GaveUp):
    """A stop was asked for while a server was away: nothing more is tried."""


_FIRST_PAUSE_MS: Final = 20
_LONGEST_PAUSE_MS: Final = 1_000


def pause_ms(attempt: int) -> int:
    """The pause after the ``attempt``-th failure (from 1): doubles from 20 ms up to one second."""
    return min(_LONGEST_PAUSE_MS, _FIRST_PAUSE_MS << min(attempt - 1, 10))


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a worker goes on trying while a server is away."""

    clock: Clock
    stop: threading.Event
    limit_ms: int

    def call(self, what: str, call: Callable[[], R]) -> R:
        """The result of ``call``; ``GaveUp`` if it stays retriable for ``limit_ms``, ``StopAsked`` if a stop is."""
        deadline_ms = self.clock.monotonic_ms() + self.limit_ms
        attempt = 0
        while True:
            attempt += 1
            try:
                return call()
            except RetriableError as error:
                if self.clock.monotonic_ms() >= deadline_ms:
                    raise GaveUp(f"{what}: no success in {self.limit_ms} ms and {attempt} tries: {error}") from error
                log.info("again", what=what, attempt=attempt, error=str(error))
                if self.pause(attempt):
                    raise StopAsked(f"{what}: {error}") from error

    def pause(self, attempt: int) -> bool:
        """Wait; whether the wait ended because of a stop."""
        return self.stop.wait(pause_ms(attempt) / 1000)
