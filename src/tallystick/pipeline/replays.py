"""How many records are polled for the second time in one process.

Owns: ``Replays``. Must not know: why they come again.
"""

from __future__ import annotations

from tallystick.pipeline.batch import Batch


class Replays:
    """The highest position seen of each partition."""

    def __init__(self) -> None:
        self._high: dict[tuple[str, int], int] = {}

    def count(self, batch: Batch) -> int:
        """The number of records in the batch that came before."""
        high, replayed = self._high, 0
        for record in batch.records:
            place = (record.topic, record.partition)
            if record.offset < high.get(place, 0):
                replayed += 1
            else:
                high[place] = record.offset + 1
        return replayed
