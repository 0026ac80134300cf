"""A small state of its own file: records that the disk has taken, compacted when they have grown.

Owns: replay, commit and compaction of one journal, and what a client is told when the disk refuses. Must not know: what
the records mean; who holds the state applies them, and lists them again for a snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Generic, TypeVar

import structlog

from tallystick.broker.log.durability import Durability
from tallystick.broker.log.journal import FileJournal
from tallystick.broker.log.torn_tail import TornTail
from tallystick.broker.ports import JournalRecord
from tallystick.wire.errors import ApiError, ErrorCode

logger = structlog.get_logger(__name__)

R = TypeVar("R", bound=JournalRecord)


class StateJournal(Generic[R]):
    """``recover`` first. ``name`` stands in messages; ``compact_above_bytes`` is where compaction begins to pay."""

    def __init__(
        self,
        path: Path,
        record_type: Any,
        durability: Durability,
        *,
        name: str,
        compact_above_bytes: int,
        apply: Callable[[R], None],
        snapshot: Callable[[], Iterable[R]],
    ) -> None:
        self._journal: FileJournal[R] = FileJournal(path, record_type, durability)
        self._name = name
        self._least_bytes = self._compact_above_bytes = compact_above_bytes
        self._apply = apply
        self._snapshot = snapshot

    @property
    def torn(self) -> TornTail | None:
        """What start-up cut off the journal."""
        return self._journal.torn

    def recover(self) -> None:
        """Apply every record that is there."""
        for record in self._journal.replay():
            self._apply(record)
        self.compact()

    def commit(self, record: R) -> None:
        """Write the record and then apply it; ``ApiError``, and it is not applied, if the disk refuses it.

        One that cannot be applied is taken back: no start could apply it.
        """
        try:
            self._journal.append(record)
        except OSError as error:
            raise ApiError(ErrorCode.kafka_storage_error, f"{self._name}: {error.strerror}") from error
        try:
            self._apply(record)
        except BaseException:
            self._journal.take_back()
            raise

    def compact(self) -> None:
        """Replace the records by a snapshot if the file has grown enough; a full disk leaves it as it is."""
        if self._journal.size_bytes <= self._compact_above_bytes:
            return
        try:
            self._journal.compact(self._snapshot())
        except OSError:
            logger.exception(f"{self._name} is not compacted")
        self._compact_above_bytes = max(self._least_bytes, self._journal.size_bytes * 2)

    def close(self) -> None:
        """Close the file."""
        self._journal.close()
