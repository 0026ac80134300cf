"""What happened in a run, and when: faults, workers that died and came back, phases.

Owns: ``Moment`` and ``Timeline``. Must not know: why it happened.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import Final

MOMENTS_MAX: Final = 100_000
"""An hour with a fault each second has a tenth of them. Later ones are counted, not kept."""


@dataclass(frozen=True, slots=True)
class Moment:
    """``at_ms`` and ``until_ms`` count from the run's beginning; ``until_ms`` is None for what has no length.

    ``lane`` says whom it concerns: ``faults``, ``slot-0``, ``broker``, ``run``.
    """

    at_ms: int
    lane: str
    text: str
    until_ms: int | None = None

    def __str__(self) -> str:
        length = "" if self.until_ms is None else f" (for {(self.until_ms - self.at_ms) / 1000:.1f} s)"
        return f"{self.at_ms / 1000:8.3f} s  {self.lane}: {self.text}{length}"


class Timeline:
    """Appended to from several threads."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._moments: list[Moment] = []
        self.dropped = 0

    def now_ms(self) -> int:
        """Milliseconds since the beginning."""
        return int((time.monotonic() - self._began) * 1000)

    def note(self, lane: str, text: str) -> int:
        """Something happened now; returns a number for ``end``, -1 if there is no room."""
        with self._lock:
            if len(self._moments) >= MOMENTS_MAX:
                self.dropped += 1
                return -1
            self._moments.append(Moment(self.now_ms(), lane, text))
            return len(self._moments) - 1

    def end(self, number: int) -> None:
        """What began with that number is over."""
        if number >= 0:
            with self._lock:
                self._moments[number] = replace(self._moments[number], until_ms=self.now_ms())

    def moments(self) -> tuple[Moment, ...]:
        """All so far, by their beginning."""
        with self._lock:
            return tuple(self._moments)
