"""What the transaction coordinator persists.

Owns: the record types and the names of the states. Must not know: who decides, how a journal stores.

A ``TransactionState`` record is the whole state of one transactional id, as in Apache Kafka's transaction log: the
last one wins, so that applying is replacing.
"""

from __future__ import annotations

import enum
from typing import Final

from tallystick.broker.ports import JournalRecord

NO_PRODUCER_ID: Final = -1
NO_PRODUCER_EPOCH: Final = -1


class TransactionStatus(enum.Enum):
    """Apache Kafka's states; the values are the names that DescribeTransactions shows."""

    EMPTY = "Empty"
    ONGOING = "Ongoing"
    PREPARE_COMMIT = "PrepareCommit"
    PREPARE_ABORT = "PrepareAbort"
    COMPLETE_COMMIT = "CompleteCommit"
    COMPLETE_ABORT = "CompleteAbort"
    PREPARE_EPOCH_FENCE = "PrepareEpochFence"
    """The epoch is raised, so that the old producer is fenced, and its transaction is about to be aborted."""
    DEAD = "Dead"
    """Expired and forgotten: as a record, a tombstone."""


class TransactionState(JournalRecord, frozen=True, tag="transaction-state"):
    """Everything about one transactional id.

    ``last_producer_epoch`` is the epoch that a producer gave as its own when this epoch was made, so that its retry is
    recognised (KIP-360); ``previous_producer_id`` likewise for a producer id that was replaced at epoch exhaustion.
    """

    transactional_id: str
    producer_id: int
    producer_epoch: int
    status: TransactionStatus
    timeout_ms: int
    last_producer_epoch: int = NO_PRODUCER_EPOCH
    previous_producer_id: int = NO_PRODUCER_ID
    partitions: tuple[tuple[str, int], ...] = ()
    groups: tuple[str, ...] = ()
    started_ms: int = -1
    updated_ms: int = -1


class ProducerIdsReserved(JournalRecord, frozen=True, tag="producer-ids-reserved"):
    """Every producer id below ``next_producer_id`` may be in use; one at or above it never was."""

    next_producer_id: int
