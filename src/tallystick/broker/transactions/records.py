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

MAX_EPOCH: Final = 32767
"""The highest epoch. It is never given to a producer: it is left for ending what the one before it began."""

EPOCH_RISES_AT_END: Final = 2
"""The first transaction version in which every EndTxn raises the epoch, and in which a partition or a group joins the
transaction by being written to (KIP-890). Versions 0 and 1 differ in what Apache Kafka stores, and not here."""


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

    ``last_producer_epoch`` is the epoch that the present producer had before this one, so that its retry is recognised
    (KIP-360, KIP-890); -1 if the epoch was made by somebody else. ``previous_producer_id`` likewise for a producer id
    that was replaced at epoch exhaustion. ``next_producer_id`` takes the place of an exhausted one when the prepared
    transaction completes. ``client_transaction_version`` is the version that the client of the present or last
    transaction spoke.
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
    next_producer_id: int = NO_PRODUCER_ID
    client_transaction_version: int = 0

    @property
    def is_exhausted(self) -> bool:
        """Whether the next raise of the epoch needs a new producer id."""
        return self.producer_epoch >= MAX_EPOCH - 1


class ProducerIdsReserved(JournalRecord, frozen=True, tag="producer-ids-reserved"):
    """Every producer id below ``next_producer_id`` may be in use; one at or above it never was."""

    next_producer_id: int
