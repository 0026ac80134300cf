"""Producer ids that are never given out twice, not even over ``kill -9``.

Owns: the counter. Ids are reserved in blocks, durably, before the first of the block is given out; what is left of a
block at a crash is skipped. Must not know: who gets an id.
"""

from __future__ import annotations

from typing import Final

from tallystick.broker.ports import Journal
from tallystick.broker.transactions.records import ProducerIdsReserved

BLOCK_SIZE: Final = 1000


class ProducerIds:
    """Gives out producer ids in rising order."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._next_producer_id = 0
        self._reserved_until = 0

    def apply(self, record: ProducerIdsReserved) -> None:
        self._next_producer_id = max(self._next_producer_id, record.next_producer_id)
        self._reserved_until = max(self._reserved_until, record.next_producer_id)

    def snapshot(self) -> ProducerIdsReserved:
        return ProducerIdsReserved(next_producer_id=self._reserved_until)

    def peek(self) -> int:
        """The id that ``take`` would give out; it is reserved from now on. ``OSError`` if that cannot be written."""
        if self._next_producer_id >= self._reserved_until:
            until = self._next_producer_id + BLOCK_SIZE
            self._journal.append(ProducerIdsReserved(next_producer_id=until))
            self._reserved_until = until
        return self._next_producer_id

    def note_used(self, producer_id: int) -> None:
        """This id is somebody's now: the next one is above it."""
        self._next_producer_id = max(self._next_producer_id, producer_id + 1)

    def take(self) -> int:
        """A new producer id. ``OSError`` if it cannot be reserved."""
        producer_id = self.peek()
        self._next_producer_id += 1
        return producer_id
