"""A group's committed offsets, plain and transactional: pure.

Owns: which offset of a partition counts, and what is pending under an open transaction. Must not know: members,
generations, journals, clocks.

Offsets under an open transaction never expire and never vanish but by its end (rule 22).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import msgspec

from tallystick.broker.groups.records import (
    CommittedOffset,
    OffsetsCommitted,
    OffsetsDeleted,
    OffsetsPending,
    PendingOffsetsEnded,
)
from tallystick.broker.ports import JournalRecord

TopicPartition = tuple[str, int]

MAX_OFFSETS_IN_A_RECORD: Final = 500
"""Each may have 4 KiB of metadata, which as JSON may take six times that: 12 MiB of the 16 that a record may have."""


@dataclass(slots=True)
class GroupOffsets:
    """The offsets of one group. ``pending`` is by producer id, since an open transaction is one producer's."""

    group_id: str
    committed: dict[TopicPartition, CommittedOffset] = field(default_factory=dict)
    pending: dict[int, dict[TopicPartition, CommittedOffset]] = field(default_factory=dict)
    pending_epochs: dict[int, int] = field(default_factory=dict)
    next_position: int = 0

    # --- deciding -----------------------------------------------------------------------------------------------------

    def commit(self, offsets: Iterable[CommittedOffset]) -> OffsetsCommitted:
        """The record of a plain commit."""
        return OffsetsCommitted(group_id=self.group_id, offsets=self._placed(offsets))

    def commit_pending(
        self, producer_id: int, producer_epoch: int, offsets: Iterable[CommittedOffset]
    ) -> OffsetsPending:
        """The record of a transactional commit."""
        return OffsetsPending(
            group_id=self.group_id,
            producer_id=producer_id,
            producer_epoch=producer_epoch,
            offsets=self._placed(offsets),
        )

    def end_pending(self, producer_id: int, *, commit: bool) -> PendingOffsetsEnded | None:
        """The record of a transaction's end; None if nothing of that producer is pending."""
        if producer_id not in self.pending:
            return None
        return PendingOffsetsEnded(group_id=self.group_id, producer_id=producer_id, commit=commit)

    def _placed(self, offsets: Iterable[CommittedOffset]) -> tuple[CommittedOffset, ...]:
        return tuple(msgspec.structs.replace(offset, position=self.next_position) for offset in offsets)

    # --- applying -----------------------------------------------------------------------------------------------------

    def apply(self, record: JournalRecord) -> None:
        """Take over a record of this group; live and in recovery."""
        match record:
            case OffsetsCommitted(offsets=offsets):
                for offset in offsets:
                    self._make_visible(offset)
            case OffsetsPending(producer_id=producer_id, producer_epoch=producer_epoch, offsets=offsets):
                pending = self.pending.setdefault(producer_id, {})
                self.pending_epochs[producer_id] = producer_epoch
                for offset in offsets:
                    pending[offset.topic, offset.partition] = offset
                    self.next_position = max(self.next_position, offset.position + 1)
            case PendingOffsetsEnded(producer_id=producer_id, commit=commit):
                self.pending_epochs.pop(producer_id, None)
                for offset in self.pending.pop(producer_id, {}).values():
                    if commit:
                        self._make_visible(offset)
            case OffsetsDeleted(partitions=partitions):
                for partition in partitions:
                    self.committed.pop(partition, None)
            case _:
                raise TypeError(f"{type(record).__name__} is no record of offsets")

    def _make_visible(self, offset: CommittedOffset) -> None:
        """The commit that is later in the order counts, whichever became visible first."""
        self.next_position = max(self.next_position, offset.position + 1)
        present = self.committed.get((offset.topic, offset.partition))
        if present is None or present.position <= offset.position:
            self.committed[offset.topic, offset.partition] = offset

    # --- asking -------------------------------------------------------------------------------------------------------

    def is_stable(self, partition: TopicPartition) -> bool:
        """Whether no open transaction may still change the partition's committed offset."""
        return not any(partition in offsets for offsets in self.pending.values())

    def snapshot(self) -> Iterable[JournalRecord]:
        """Records that give these offsets again. Positions are kept, so the order among commits survives.

        Several for a large group: a record that is too large for the journal would keep the node from starting.
        """
        for offsets in _portions(self.committed.values()):
            yield OffsetsCommitted(group_id=self.group_id, offsets=offsets)
        for producer_id, pending in self.pending.items():
            for offsets in _portions(pending.values()):
                yield OffsetsPending(
                    group_id=self.group_id,
                    producer_id=producer_id,
                    producer_epoch=self.pending_epochs[producer_id],
                    offsets=offsets,
                )


def _portions(offsets: Iterable[CommittedOffset]) -> Iterator[tuple[CommittedOffset, ...]]:
    rest = iter(offsets)
    while portion := tuple(islice(rest, MAX_OFFSETS_IN_A_RECORD)):
        yield portion
