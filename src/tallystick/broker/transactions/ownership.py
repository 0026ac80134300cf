"""Rules of who owns a transactional id: InitProducerId, fencing, timeout and expiry. Pure (KIP-98, KIP-360).

Owns: the next epoch and producer id of a new owner. Must not know: which state they apply in (``machine``).
"""

from __future__ import annotations

import msgspec

from tallystick.broker.transactions.records import (
    MAX_EPOCH,
    NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID,
    TransactionState,
    TransactionStatus,
)
from tallystick.broker.transactions.requests import NOTHING, Decision, InitProducerId, Then, TimeOut, refuse
from tallystick.errors import IllegalTransition
from tallystick.wire.errors import ErrorCode


def initialise(state: TransactionState, request: InitProducerId, now_ms: int) -> Decision:
    """InitProducerId without an open transaction: the next epoch, or the same answer to a repeated request."""
    if not _may_initialise(state, request):
        return refuse(ErrorCode.producer_fenced)
    if _is_repeated(state, request):
        return Decision(_emptied(state, request, now_ms))
    named = request.producer_id != NO_PRODUCER_ID
    if state.is_exhausted:
        return Decision(
            _emptied(
                state,
                request,
                now_ms,
                producer_id=request.fresh_producer_id,
                producer_epoch=0,
                last_producer_epoch=request.producer_epoch,
                previous_producer_id=state.producer_id,
            )
        )
    return Decision(
        _emptied(
            state,
            request,
            now_ms,
            producer_epoch=state.producer_epoch + 1,
            last_producer_epoch=state.producer_epoch if named else NO_PRODUCER_EPOCH,
        )
    )


def _may_initialise(state: TransactionState, request: InitProducerId) -> bool:
    """KIP-360: a producer that names its id and epoch must be the owner, or the owner whose answer was lost."""
    if request.producer_id == NO_PRODUCER_ID:
        return True
    if request.producer_id == state.producer_id:
        return request.producer_epoch in {state.producer_epoch, state.last_producer_epoch}
    return (
        request.producer_id == state.previous_producer_id
        and request.producer_epoch >= MAX_EPOCH - 1
        and request.producer_epoch == state.last_producer_epoch
    )


def _is_repeated(state: TransactionState, request: InitProducerId) -> bool:
    """The request that made the present epoch, again, because its answer was lost: it gets the same answer.

    So does the first one of a producer whose transaction timed out: the timeout made the epoch for it.
    """
    return (
        request.producer_id != NO_PRODUCER_ID
        and (request.producer_id, request.producer_epoch) != (state.producer_id, state.producer_epoch)
        and state.producer_epoch < MAX_EPOCH
    )


def _emptied(state: TransactionState, request: InitProducerId, now_ms: int, **changes: int) -> TransactionState:
    return msgspec.structs.replace(
        state,
        status=TransactionStatus.EMPTY,
        timeout_ms=request.timeout_ms,
        partitions=(),
        groups=(),
        started_ms=-1,
        updated_ms=now_ms,
        **changes,
    )


def fence_and_initialise(state: TransactionState, request: InitProducerId, now_ms: int) -> Decision:
    """InitProducerId in an open transaction: the old producer is fenced and its transaction aborted before the answer.

    Apache Kafka answers CONCURRENT_TRANSACTIONS here and lets the client come again; the epochs end up the same.
    """
    owner = (state.producer_id, state.producer_epoch)
    if request.producer_id != NO_PRODUCER_ID and (request.producer_id, request.producer_epoch) != owner:
        return refuse(ErrorCode.producer_fenced)
    fenced = _fenced(state, request, now_ms, last_producer_epoch=request.producer_epoch)
    return Decision(fenced, then=Then.COMPLETE_AND_ASK_AGAIN)


def time_out(state: TransactionState, request: TimeOut, now_ms: int) -> Decision:
    """Fence and abort an open transaction whose time is over."""
    if now_ms < state.started_ms + state.timeout_ms:
        return NOTHING
    # The epoch rises, so that the slow producer learns of it and cannot add to what was aborted (rule 14). It may go on
    # with the raised epoch if nobody else came: by EndTxn in version 2, by InitProducerId (KIP-360) in both.
    fenced = _fenced(state, request, now_ms, last_producer_epoch=state.producer_epoch)
    return Decision(fenced, then=Then.COMPLETE_AND_REPLY)


def _fenced(
    state: TransactionState, request: InitProducerId | TimeOut, now_ms: int, *, last_producer_epoch: int
) -> TransactionState:
    if state.producer_epoch >= MAX_EPOCH:
        raise IllegalTransition("transaction", state.status.value, f"fencing of epoch {state.producer_epoch}")
    return msgspec.structs.replace(
        state,
        status=TransactionStatus.PREPARE_EPOCH_FENCE,
        producer_epoch=state.producer_epoch + 1,
        last_producer_epoch=last_producer_epoch,
        # The abort's epoch is the last one then, and must not become a producer's (KAFKA-20090).
        next_producer_id=request.fresh_producer_id if state.is_exhausted else NO_PRODUCER_ID,
        updated_ms=now_ms,
    )


def expire(state: TransactionState, request: TimeOut, now_ms: int) -> Decision:
    """Forget an id that idled for so long."""
    if now_ms < state.updated_ms + request.expiration_ms:
        return NOTHING
    return Decision(msgspec.structs.replace(state, status=TransactionStatus.DEAD, updated_ms=now_ms))
