"""A clock that is wrong by as much as it was told.

Owns: the offsets. Must not know: who reads it.
"""

from __future__ import annotations

from tallystick.clock import Clock


class SkewedClock:
    """Another clock's time, shifted; right until ``skew``."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_ms = 0
        self._monotonic_ms = 0

    def now_ms(self) -> int:
        return self._clock.now_ms() + self._by_ms

    def monotonic_ms(self) -> int:
        return self._clock.monotonic_ms() + self._monotonic_ms

    def set_right(self) -> None:
        """The wall clock is right again; the monotonic one stays ahead, for it does not go back."""
        self._by_ms = 0

    def skew(self, *, by_ms: int, monotonic_ms: int) -> None:
        """Jump by so much from now on. The monotonic clock jumps ahead only: ``ValueError``."""
        if monotonic_ms < 0:
            raise ValueError(f"a monotonic clock does not go back: {monotonic_ms} ms")
        self._by_ms += by_ms
        self._monotonic_ms += monotonic_ms
