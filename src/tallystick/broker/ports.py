"""The seam between the broker's core (logs, server) and its coordinators (transactions, groups).

Owns: the ports that coordinators write through and the ports that the server drives them by. Must not know: how a
journal or a partition is stored, what a coordinator decides.

Everything here is called from the one task loop that owns all state, and returns without awaiting.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import NamedTuple, Protocol

import msgspec


class JournalRecord(msgspec.Struct, frozen=True, tag_field="type"):
    """Base of everything that coordinators persist.

    A subclass sets ``tag="transaction-state"`` or the like; the union of all of them is
    ``journal_records.AnyJournalRecord``, by which the journal decodes. A field may be added with a default; it is never
    renamed, nor is its meaning changed: the folder's format version rises then.
    """


class Journal(Protocol):
    """Durable append-only log of coordinator records: framed, checksummed, replayed at start."""

    def append(self, record: JournalRecord) -> None:
        """Write one record to the operating system; it survives ``kill -9`` once this returns.

        Under ``--fsync commit`` the server holds every response back until what was appended before it is on disk.
        Raises ``OSError`` (disk full) with nothing written: the caller must not apply the record then.
        """
        ...

    def take_back(self) -> None:
        """Let the record that was appended last never have been: it could not be applied, nor could a start do so."""
        ...


class TopicShape(NamedTuple):
    """What is to be shared of a topic among readers."""

    name: str
    topic_id: uuid.UUID
    partition_count: int


class TopicCatalog(Protocol):
    """What the group coordinator asks about topics."""

    @property
    def version(self) -> int:
        """Another number after every topic that was made, grown or deleted."""
        ...

    def names(self) -> Iterable[str]:
        """Of all topics."""
        ...

    def shape(self, topic: str) -> TopicShape | None:
        """None if there is no such topic."""
        ...

    def name_of(self, topic_id: uuid.UUID) -> str | None:
        """The name of the topic with this id, None if there is none."""
        ...


class PartitionWriter(Protocol):
    """What coordinators may ask of and do to the partitions."""

    def exists(self, topic: str, partition: int) -> bool:
        """Whether this partition is there."""
        ...

    def topic_id(self, topic: str) -> uuid.UUID | None:
        """The topic's id, None if there is no such topic."""
        ...

    def append_marker(
        self,
        topic: str,
        partition: int,
        *,
        producer_id: int,
        producer_epoch: int,
        commit: bool,
        coordinator_epoch: int,
        now_ms: int,
    ) -> None:
        """End the producer's transaction in this partition with a commit or an abort marker.

        Recovery may call it again: without an open transaction of that producer it only raises the producer's epoch,
        as Apache Kafka does, and writes nothing if that is known already. A partition that no longer exists is skipped.
        Raises ``OSError`` (disk full) with nothing written.
        """
        ...


class Coordinator(Protocol):
    """What the server asks of each coordinator."""

    def replay(self, record: JournalRecord) -> None:
        """Apply one journal record at start; a record of the other coordinator is ignored."""
        ...

    def snapshot(self) -> Iterable[JournalRecord]:
        """Records that, replayed into an empty coordinator, give the present state: the compacted journal."""
        ...

    def finish_recovery(self) -> None:
        """Complete what the crash left half done; called once, after the last ``replay``, before the first request."""
        ...

    def tick(self, now_ms: int) -> None:
        """Expire what is due. Called about every 50 ms."""
        ...
