"""How many records are polled for the second time in one process.

Owns: ``Replays``. Must not know: why they come again.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from tallystick.pipeline.polled import Run


class Replays:
    """The highest position seen of each partition."""

    def __init__(self) -> None:
        self._high: dict[tuple[str, int], int] = {}

    def count(self, runs: Iterable[Run]) -> int:
        """The number of records in these runs that came before."""
        replayed = 0
        for run in runs:
            place = (run.topic, run.partition)
            high = self._high.get(place, 0)
            replayed += bisect_left(run.offsets, high)
            self._high[place] = max(high, run.offsets[-1] + 1)
        return replayed
