"""What one partition knows of its producers: sequences, epochs, open transactions, the last stable offset.

Owns: idempotence (rule 19), fencing by epoch, open transactions, what a marker makes of one. Pure: no I/O, no clock.
Must not know: files, the coordinator, the transactions that were aborted before (the log keeps those, by segment).

``check`` decides about a batch and changes nothing. ``apply_batch`` and ``apply_marker`` change the state by what was
written, and recovery calls exactly these two again with the headers it finds, so live and recovered state cannot
differ. The decisions are those of Apache Kafka 4's ``ProducerStateManager`` and ``ProducerAppendInfo``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from tallystick.broker.log.aborted import AbortedTransaction
from tallystick.errors import IllegalTransition
from tallystick.wire.batch import NO_PRODUCER_ID, NO_SEQUENCE, BatchHeader, increment_sequence
from tallystick.wire.errors import ErrorCode

REMEMBERED_BATCHES: Final = 5
"""As many as an idempotent producer may have in flight (``max.in.flight.requests.per.connection``)."""
NO_EPOCH: Final = -1
_EPOCH_RISES_AT_END: Final = 2


class BatchMemory(msgspec.Struct, frozen=True):
    """What is remembered of a written batch, to know its duplicate by. A struct, because every batch makes one."""

    first_sequence: int
    last_sequence: int
    first_offset: int
    last_offset: int
    timestamp_ms: int


class ProducerEntry(msgspec.Struct, frozen=True):
    """One producer id in one partition. ``batches`` has the oldest first, all of the present epoch."""

    producer_id: int
    producer_epoch: int = NO_EPOCH
    coordinator_epoch: int = -1
    batches: tuple[BatchMemory, ...] = ()
    transaction_first_offset: int | None = None
    last_timestamp_ms: int = -1

    @property
    def last_sequence(self) -> int:
        return self.batches[-1].last_sequence if self.batches else NO_SEQUENCE

    def continues_with(self, header: BatchHeader) -> bool:
        """Whether ``header`` is just what is due next: the next sequence of this epoch, in the same transaction."""
        return (
            header.producer_epoch == self.producer_epoch
            and bool(self.batches)
            and header.base_sequence == increment_sequence(self.batches[-1].last_sequence, 1)
            and (self.transaction_first_offset is None or header.is_transactional)
        )

    def duplicate_of(self, header: BatchHeader) -> BatchMemory | None:
        """The remembered batch that ``header`` repeats, if it repeats one."""
        if header.producer_epoch != self.producer_epoch:
            return None
        first, last = header.base_sequence, header.last_sequence
        for batch in self.batches:
            if batch.first_sequence == first and batch.last_sequence == last:
                return batch
        return None


@dataclass(frozen=True, slots=True)
class Accept:
    """Append it."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """It is written already: answer with the original's offset."""

    original: BatchMemory


@dataclass(frozen=True, slots=True)
class Reject:
    """Refuse it with this code."""

    code: ErrorCode
    reason: str


Decision = Accept | Duplicate | Reject

_ACCEPT: Final = Accept()


@dataclass(slots=True)
class ProducerStates:
    """All producers of one partition. The partition is the only one that changes it."""

    producers: dict[int, ProducerEntry] = field(default_factory=dict)
    _open: dict[int, int] = field(default_factory=dict)
    """First offset of each open transaction by producer id; insertion order is offset order."""

    def check(self, header: BatchHeader) -> Decision:
        """What to do with a batch that a client sends."""
        if header.producer_id == NO_PRODUCER_ID:
            return _reject_without_id(header) if header.is_transactional else _ACCEPT
        if header.base_sequence < 0 or header.producer_epoch < 0:
            return Reject(ErrorCode.invalid_record, "a producer id without epoch or sequence")
        entry = self.producers.get(header.producer_id)
        if entry is None or entry.continues_with(header):
            return _ACCEPT
        original = entry.duplicate_of(header)
        if original is not None:
            return Duplicate(original)
        return (
            _check_epoch(entry, header)
            or _check_sequence(entry, header)
            or _check_transaction(entry, header)
            or _ACCEPT
        )

    def has_open_transaction(self, producer_id: int, producer_epoch: int) -> bool:
        """Whether this producer already has records of an open transaction here, so that it needs no verification."""
        entry = self.producers.get(producer_id)
        return (
            entry is not None and entry.transaction_first_offset is not None and entry.producer_epoch == producer_epoch
        )

    def is_last_batch(self, header: BatchHeader) -> bool:
        """Whether a written batch is what its producer is known by: it must stay when its records go."""
        entry = self.producers.get(header.producer_id)
        if entry is None:
            return False
        if entry.batches:
            return not header.is_control and header.last_offset == entry.batches[-1].last_offset
        return header.is_control and header.producer_epoch == entry.producer_epoch

    def check_marker(
        self, *, producer_id: int, producer_epoch: int, coordinator_epoch: int, transaction_version: int = 0
    ) -> Decision:
        """What to do with a marker that a coordinator writes.

        From transaction version 2 on its epoch is higher than that of the records it ends: one that is not is late,
        unless it repeats the last one (KIP-1228, KAFKA-19999).
        """
        entry = self.producers.get(producer_id)
        if entry is None:
            return _ACCEPT
        late = producer_epoch < entry.producer_epoch or (
            transaction_version >= _EPOCH_RISES_AT_END
            and producer_epoch == entry.producer_epoch
            and entry.transaction_first_offset is not None
        )
        if late:
            return Reject(ErrorCode.invalid_producer_epoch, f"epoch {producer_epoch} after {entry.producer_epoch}")
        if coordinator_epoch < entry.coordinator_epoch:
            return Reject(
                ErrorCode.transaction_coordinator_fenced,
                f"coordinator epoch {coordinator_epoch} after {entry.coordinator_epoch}",
            )
        return _ACCEPT

    def forget(self, producer_id: int) -> None:
        """Know nothing of a producer any more; it must have no open transaction here."""
        if producer_id in self._open:
            raise IllegalTransition("producer", "transaction open", "forget")
        self.producers.pop(producer_id, None)

    def apply_batch(self, header: BatchHeader) -> None:
        """A data batch was written at ``header.base_offset``."""
        producer_id = header.producer_id
        if producer_id == NO_PRODUCER_ID:
            return
        entry = self.producers.get(producer_id)
        memory = BatchMemory(
            first_sequence=header.base_sequence,
            last_sequence=header.last_sequence,
            first_offset=header.base_offset,
            last_offset=header.last_offset,
            timestamp_ms=header.max_timestamp_ms,
        )
        batches: tuple[BatchMemory, ...] = (memory,)
        first_offset: int | None = None
        coordinator_epoch = -1
        if entry is not None:
            if entry.producer_epoch == header.producer_epoch:
                batches = (*entry.batches[1 - REMEMBERED_BATCHES :], memory)
            first_offset = entry.transaction_first_offset
            coordinator_epoch = entry.coordinator_epoch
        if header.is_transactional and first_offset is None:
            first_offset = header.base_offset
            self._open[producer_id] = first_offset
        self.producers[producer_id] = ProducerEntry(
            producer_id=producer_id,
            producer_epoch=header.producer_epoch,
            coordinator_epoch=coordinator_epoch,
            batches=batches,
            transaction_first_offset=first_offset,
            last_timestamp_ms=header.max_timestamp_ms,
        )

    def apply_marker(self, header: BatchHeader, *, commit: bool, coordinator_epoch: int) -> AbortedTransaction | None:
        """A marker was written at ``header.base_offset``. Without an open transaction it only raises the epochs.

        What it aborted is returned, for the index by which readers leave it out (rule 23).
        """
        producer_id = header.producer_id
        first_offset = self._open.pop(producer_id, None)
        aborted = None
        if first_offset is not None and not commit:
            aborted = AbortedTransaction(
                producer_id=producer_id,
                first_offset=first_offset,
                last_offset=header.base_offset,
                last_stable_offset=self.last_stable_offset(header.next_offset),
            )
        entry = self.producers.get(producer_id)
        same_epoch = entry is not None and entry.producer_epoch == header.producer_epoch
        self.producers[producer_id] = ProducerEntry(
            producer_id=producer_id,
            producer_epoch=header.producer_epoch,
            coordinator_epoch=coordinator_epoch,
            batches=entry.batches if entry is not None and same_epoch else (),
            last_timestamp_ms=header.max_timestamp_ms,
        )
        return aborted

    def last_stable_offset(self, high_watermark: int) -> int:
        """The first offset of the oldest open transaction, or the high watermark."""
        for first_offset in self._open.values():
            return min(first_offset, high_watermark)
        return high_watermark

    def entries(self) -> tuple[ProducerEntry, ...]:
        """Everything that is known, to be kept."""
        return tuple(self.producers.values())

    def restore(self, entries: Iterable[ProducerEntry]) -> None:
        """Know these producers and no others; what was open is told by the entries."""
        self.producers = {entry.producer_id: entry for entry in entries}
        began = [
            (entry.transaction_first_offset, entry.producer_id)
            for entry in self.producers.values()
            if entry.transaction_first_offset is not None
        ]
        self._open = {producer_id: first_offset for first_offset, producer_id in sorted(began)}


def _reject_without_id(header: BatchHeader) -> Reject:
    return Reject(
        ErrorCode.invalid_record, f"a transactional batch without producer id at epoch {header.producer_epoch}"
    )


def _check_epoch(entry: ProducerEntry, header: BatchHeader) -> Reject | None:
    if header.producer_epoch < entry.producer_epoch:
        return Reject(
            ErrorCode.invalid_producer_epoch,
            f"producer {entry.producer_id}: epoch {header.producer_epoch} after {entry.producer_epoch}",
        )
    return None


def _check_sequence(entry: ProducerEntry, header: BatchHeader) -> Reject | None:
    if header.producer_epoch != entry.producer_epoch:
        expected = 0
    else:
        last = entry.last_sequence
        expected = 0 if last == NO_SEQUENCE else increment_sequence(last, 1)
    if header.base_sequence == expected:
        return None
    return Reject(
        ErrorCode.out_of_order_sequence_number,
        f"producer {entry.producer_id}, epoch {header.producer_epoch}: "
        f"sequence {header.base_sequence} where {expected} is due",
    )


def _check_transaction(entry: ProducerEntry, header: BatchHeader) -> Reject | None:
    if entry.transaction_first_offset is not None and not header.is_transactional:
        return Reject(ErrorCode.invalid_txn_state, f"producer {entry.producer_id} has an open transaction here")
    return None
