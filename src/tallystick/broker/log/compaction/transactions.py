"""Transactions as a log tells them from its beginning: which data is aborted, which marker has nothing left to end.

Owns: what is between a transaction's data and its marker. Must not know: keys, files, time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from tallystick.broker.log.aborted import AbortedTransaction
from tallystick.wire.batch import BatchHeader


class ReadTransactions:
    """``aborted`` are all aborted transactions of the part that is read, in any order."""

    def __init__(self, aborted: Iterable[AbortedTransaction]) -> None:
        self._to_come = deque(sorted(aborted, key=lambda row: row.first_offset))
        self._aborted: dict[int, AbortedTransaction] = {}
        self._seen: set[int] = set()
        """Producers of whose present transaction a batch was read."""

    def is_aborted(self, header: BatchHeader) -> bool:
        """A data batch is read: whether its transaction was aborted."""
        if not header.is_transactional:
            return False
        self._begin_up_to(header.last_offset)
        self._seen.add(header.producer_id)
        return header.producer_id in self._aborted

    def end(self, header: BatchHeader) -> tuple[bool, AbortedTransaction | None]:
        """A marker is read: whether it has nothing left to end, and what it aborted."""
        self._begin_up_to(header.last_offset)
        row = self._aborted.get(header.producer_id)
        if row is not None and row.last_offset <= header.last_offset:
            del self._aborted[header.producer_id]
        has_data = header.producer_id in self._seen
        self._seen.discard(header.producer_id)
        return not has_data, row

    def _begin_up_to(self, offset: int) -> None:
        while self._to_come and self._to_come[0].first_offset <= offset:
            row = self._to_come.popleft()
            self._aborted[row.producer_id] = row
