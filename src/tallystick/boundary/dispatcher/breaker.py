"""A circuit breaker: a provider that only fails is left alone for a while, then probed with one request.

Owns: the states and their table. Pure: time comes in. Must not know: what a request is.

    CLOSED -> OPEN        too many failures in a row
    OPEN -> HALF_OPEN     the pause is over: one probe may go
    HALF_OPEN -> CLOSED   the probe came back; -> OPEN it did not

It saves work and the provider's nerves. No guarantee leans on it: what is not sent stays as it was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from tallystick.errors import ConfigurationError, IllegalTransition


class Circuit(Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Signal(Enum):
    ANSWERED = "answered"
    FAILED = "failed"
    TRIP = "trip"
    """The failure that was one too many."""
    COOLED = "cooled"
    """The pause is over."""


TRANSITIONS: Final[dict[tuple[Circuit, Signal], Circuit]] = {
    (Circuit.CLOSED, Signal.ANSWERED): Circuit.CLOSED,
    (Circuit.CLOSED, Signal.FAILED): Circuit.CLOSED,
    (Circuit.CLOSED, Signal.TRIP): Circuit.OPEN,
    # answers to what was sent before it opened say nothing about now
    (Circuit.OPEN, Signal.ANSWERED): Circuit.OPEN,
    (Circuit.OPEN, Signal.FAILED): Circuit.OPEN,
    (Circuit.OPEN, Signal.COOLED): Circuit.HALF_OPEN,
    (Circuit.HALF_OPEN, Signal.ANSWERED): Circuit.CLOSED,
    (Circuit.HALF_OPEN, Signal.FAILED): Circuit.OPEN,
}


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """Opens after ``failures`` unknown outcomes in a row, for ``pause_ms``. Declines and 429 are answers."""

    failures: int = 20
    pause_ms: int = 5_000

    def __post_init__(self) -> None:
        if self.failures < 1 or self.pause_ms < 1:
            raise ConfigurationError(f"a breaker needs at least one failure and a pause, not {self}")


@dataclass(frozen=True, slots=True)
class Breaker:
    """The state. Every method returns the next one."""

    policy: BreakerPolicy
    circuit: Circuit = Circuit.CLOSED
    failures: int = 0
    closed_until_ms: int = 0
    """While OPEN: when it may be probed."""

    def at(self, now_ms: int) -> Breaker:
        """The state once time has come to ``now_ms``."""
        if self.circuit is Circuit.OPEN and now_ms >= self.closed_until_ms:
            return self._to(Signal.COOLED)
        return self

    def permits(self, in_flight: int) -> int | None:
        """How many more requests may go; None: as many as there are."""
        if self.circuit is Circuit.CLOSED:
            return None
        return 1 if self.circuit is Circuit.HALF_OPEN and in_flight == 0 else 0

    def answered(self) -> Breaker:
        """The provider said something that settles an attempt, or told us to come later."""
        return replace(self._to(Signal.ANSWERED), failures=0)

    def failed(self, now_ms: int) -> Breaker:
        """Timeout, lost connection or 5xx."""
        count = self.failures + 1
        if self.circuit is Circuit.CLOSED:
            signal = Signal.TRIP if count >= self.policy.failures else Signal.FAILED
        else:
            signal = Signal.FAILED
        after = self._to(signal)
        if after.circuit is Circuit.OPEN and self.circuit is not Circuit.OPEN:
            return replace(after, failures=0, closed_until_ms=now_ms + self.policy.pause_ms)
        return replace(after, failures=count)

    def _to(self, signal: Signal) -> Breaker:
        target = TRANSITIONS.get((self.circuit, signal))
        if target is None:
            raise IllegalTransition("circuit breaker", self.circuit.value, signal.value)
        return self if target is self.circuit else replace(self, circuit=target)
