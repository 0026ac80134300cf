"""What a decision about a transaction does to the world: markers into every partition, offsets in every group.

Owns: the order of these writes, and the places between them where a test may kill. Must not know: who decided, and what
is noted about it.

Everything here may be repeated: recovery does so with whatever a crash left prepared.
"""

from __future__ import annotations

from typing import Final, Protocol

from tallystick.broker.ports import PartitionWriter
from tallystick.broker.transactions.adoption import Adoption, Execute
from tallystick.broker.transactions.records import TransactionState, TransactionStatus
from tallystick.killpoints import declare, reach

COORDINATOR_EPOCH: Final = 0
"""There is one coordinator for ever, so its epoch never rises."""

KILL_AFTER_PREPARE: Final = declare("broker.after-prepare", "EndTxn is decided and durable; no marker is written yet")
KILL_AFTER_MARKERS: Final = declare("broker.after-markers", "the markers are written; no offset is materialised yet")
KILL_BEFORE_COMPLETE: Final = declare(
    "broker.before-complete", "markers and offsets are in place; not noted as complete"
)


class PendingOffsets(Protocol):
    """What the transaction coordinator asks of the groups."""

    def complete_transaction(self, group_id: str, producer_id: int, *, commit: bool) -> None:
        """Make the producer's pending offsets visible, or drop them. Repeating it does nothing."""
        ...


class Completion:
    """Carries prepared transactions out."""

    def __init__(self, partitions: PartitionWriter, groups: PendingOffsets) -> None:
        self._partitions = partitions
        self._groups = groups

    def carry_out(self, state: TransactionState, now_ms: int) -> None:
        """Markers and offsets of a transaction in PREPARE_COMMIT or PREPARE_ABORT. ``OSError``: some are missing."""
        commit = state.status is TransactionStatus.PREPARE_COMMIT
        reach(KILL_AFTER_PREPARE)
        for topic, partition in state.partitions:
            self._partitions.append_marker(
                topic,
                partition,
                producer_id=state.producer_id,
                producer_epoch=state.producer_epoch,
                commit=commit,
                coordinator_epoch=COORDINATOR_EPOCH,
                now_ms=now_ms,
            )
        reach(KILL_AFTER_MARKERS)
        for group_id in state.groups:
            self._groups.complete_transaction(group_id, state.producer_id, commit=commit)
        reach(KILL_BEFORE_COMPLETE)

    def adoption(self, execute: Execute, now_ms: int) -> Adoption:
        """Markers for what only the logs know of."""
        return Adoption(execute, self._partitions, COORDINATOR_EPOCH, now_ms)
