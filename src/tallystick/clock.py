"""Time as an argument.

Owns: the ``Clock`` interface, the system's clock and a clock that a test moves by hand. Must not know: who waits.
Pure code takes ``now_ms`` as a number; only drivers hold a ``Clock``.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Wall-clock time for timestamps and monotonic time for deadlines, both in milliseconds."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        ...

    def monotonic_ms(self) -> int:
        """Milliseconds that never go back; only differences mean anything."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000


class ManualClock:
    """A clock that stands still until ``advance`` moves it; wall and monotonic time move together."""

    def __init__(self, *, start_ms: int = 0) -> None:
        self._now_ms = start_ms

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic_ms(self) -> int:
        return self._now_ms

    def advance(self, *, by_ms: int) -> None:
        """Move forward by ``by_ms`` milliseconds; a negative step is refused with ``ValueError``."""
        if by_ms < 0:
            raise ValueError(f"a clock does not go back: {by_ms} ms")
        self._now_ms += by_ms
