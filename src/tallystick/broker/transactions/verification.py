"""Transaction version 1 asks before it writes: is this partition, or this group, in the producer's open transaction?

Owns: the answer. Pure. Must not know: who asks, and by which name a client knows the error.

Without it a record that comes late, after the end of its transaction, would open one that nobody ends (KIP-890).
"""

from __future__ import annotations

from typing import Final

from tallystick.broker.transactions.records import TransactionState, TransactionStatus
from tallystick.broker.transactions.requests import check_owner
from tallystick.wire.errors import ErrorCode

_ENDING: Final = frozenset(
    {TransactionStatus.PREPARE_COMMIT, TransactionStatus.PREPARE_ABORT, TransactionStatus.PREPARE_EPOCH_FENCE}
)


def verify(
    state: TransactionState | None,
    producer_id: int,
    producer_epoch: int,
    *,
    partition: tuple[str, int] | None = None,
    group_id: str | None = None,
) -> ErrorCode:
    """``none`` if the open transaction of this producer has it; TRANSACTION_ABORTABLE if it lacks it."""
    if state is None:
        return ErrorCode.invalid_producer_id_mapping
    error = check_owner(state, producer_id, producer_epoch)
    if error is not ErrorCode.none:
        return error
    if state.status in _ENDING:
        return ErrorCode.concurrent_transactions
    if state.status is TransactionStatus.ONGOING and (partition in state.partitions or group_id in state.groups):
        return ErrorCode.none
    return ErrorCode.transaction_abortable
