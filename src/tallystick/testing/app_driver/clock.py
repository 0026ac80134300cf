"""The clock of an application under test.

Owns: ``DriverClock``. Must not know: who reads it.
"""

from __future__ import annotations

import time
from datetime import timedelta


class DriverClock:
    """Wall-clock time stands still until ``advance``; monotonic time runs, and can be made to jump ahead.

    Event time, time stamps and the time-out of transactions follow the first; the sessions of group members and the
    expiry of producer ids follow the second. So ten minutes of event time do not end everybody's session.
    """

    def __init__(self, *, start_ms: int) -> None:
        self._now_ms = start_ms
        self._ahead_ms = 0

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000 + self._ahead_ms

    def advance(self, by: timedelta) -> None:
        """Wall-clock time goes on; ``ValueError`` for a step back."""
        self._now_ms += _ms(by)

    def advance_monotonic(self, by: timedelta) -> None:
        """Monotonic time jumps ahead; ``ValueError`` for a step back."""
        self._ahead_ms += _ms(by)


def _ms(by: timedelta) -> int:
    if by < timedelta():
        raise ValueError(f"a clock does not go back: {by}")
    return by // timedelta(milliseconds=1)
