"""What is persisted of offsets, and of groups of both protocols.

Owns: the record types. Must not know: who decides, how a journal stores.

``position`` is a commit's place in its group's order of commits: between a transactional and a plain commit of one
partition the one with the higher position wins, whenever the transaction ends (as measured on Apache Kafka).
"""

from __future__ import annotations

import msgspec

from tallystick.broker.ports import JournalRecord


class CommittedOffset(msgspec.Struct, frozen=True):
    """One partition's committed offset."""

    topic: str
    partition: int
    offset: int
    leader_epoch: int = -1
    metadata: str = ""
    committed_ms: int = -1
    position: int = 0


class OffsetsCommitted(JournalRecord, frozen=True, tag="offsets-committed"):
    """OffsetCommit: visible at once."""

    group_id: str
    offsets: tuple[CommittedOffset, ...]


class OffsetsPending(JournalRecord, frozen=True, tag="offsets-pending"):
    """TxnOffsetCommit: kept aside until the producer's transaction ends."""

    group_id: str
    producer_id: int
    producer_epoch: int
    offsets: tuple[CommittedOffset, ...]


class PendingOffsetsEnded(JournalRecord, frozen=True, tag="pending-offsets-ended"):
    """The producer's transaction ended: its pending offsets are visible now, or gone."""

    group_id: str
    producer_id: int
    commit: bool


class OffsetsDeleted(JournalRecord, frozen=True, tag="offsets-deleted"):
    """OffsetDelete, or the topic is gone."""

    group_id: str
    partitions: tuple[tuple[str, int], ...]


class GroupDeleted(JournalRecord, frozen=True, tag="group-deleted"):
    """The group and its offsets are gone."""

    group_id: str
