"""Every record that the journal may hold, as one union to decode by.

Owns: the list. Must not know: what the records mean.
"""

from __future__ import annotations

from tallystick.broker.groups.classic.records import GroupGeneration
from tallystick.broker.groups.consumer.records import ConsumerGroupChanged
from tallystick.broker.groups.records import (
    GroupDeleted,
    OffsetsCommitted,
    OffsetsDeleted,
    OffsetsPending,
    PendingOffsetsEnded,
)
from tallystick.broker.transactions.records import ProducerIdsReserved, TransactionState

AnyJournalRecord = (
    ProducerIdsReserved
    | TransactionState
    | OffsetsCommitted
    | OffsetsPending
    | PendingOffsetsEnded
    | OffsetsDeleted
    | GroupGeneration
    | ConsumerGroupChanged
    | GroupDeleted
)
