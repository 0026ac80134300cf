"""The transaction state machine of one transactional id: pure (KIP-98, KIP-360, KIP-890).

Owns: which request is answered by which rule in which state, and which state may follow which. Must not know: journals,
partitions, groups, clocks, sockets.

``decide`` looks up (state, request) in ``TABLE``; every pair is there, and a pair that cannot occur raises
``IllegalTransition``. The records that it returns are appended first and applied then, live as in recovery.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from tallystick.broker.transactions import ending, ownership
from tallystick.broker.transactions.records import TransactionState, TransactionStatus
from tallystick.broker.transactions.requests import (
    NOTHING,
    Abort,
    AbortFenced,
    AddToTransaction,
    Commit,
    Decision,
    InitProducerId,
    MarkersWritten,
    Request,
    Rule,
    TimeOut,
    complete_first,
    finish,
    owned,
    refuse,
)
from tallystick.errors import IllegalTransition
from tallystick.wire.errors import ErrorCode

S = TransactionStatus


def decide(state: TransactionState | None, request: Request, now_ms: int) -> Decision:
    """What a request does to a transactional id; ``state`` None: the id is unknown. ``IllegalTransition``: a bug."""
    if state is None:
        return _decide_unknown(request, now_ms)
    rule = TABLE.get((state.status, type(request)))
    if rule is None:
        raise IllegalTransition("transaction", state.status.value, type(request).__name__)
    decision = rule(state, request, now_ms)
    if decision.record is not None and (state.status, decision.record.status) not in TRANSITIONS:
        raise IllegalTransition("transaction", state.status.value, f"change to {decision.record.status.value}")
    return decision


def _decide_unknown(request: Request, now_ms: int) -> Decision:
    if isinstance(request, InitProducerId):
        return Decision(
            TransactionState(
                transactional_id=request.transactional_id,
                producer_id=request.fresh_producer_id,
                producer_epoch=0,
                status=S.EMPTY,
                timeout_ms=request.timeout_ms,
                updated_ms=now_ms,
            )
        )
    if isinstance(request, AddToTransaction | Commit | Abort):
        return refuse(ErrorCode.invalid_producer_id_mapping)
    raise IllegalTransition("transaction", "unknown", type(request).__name__)


def _add(state: TransactionState, request: AddToTransaction, now_ms: int) -> Decision:
    if state.status is S.ONGOING:
        partitions = _union(state.partitions, request.partitions)
        groups = _union(state.groups, request.groups)
        if (partitions, groups) == (state.partitions, state.groups):
            return NOTHING
        return Decision(msgspec.structs.replace(state, partitions=partitions, groups=groups, updated_ms=now_ms))
    return Decision(
        msgspec.structs.replace(
            state,
            status=S.ONGOING,
            partitions=_union((), request.partitions),
            groups=_union((), request.groups),
            client_transaction_version=request.transaction_version,
            started_ms=now_ms,
            updated_ms=now_ms,
        )
    )


def _union(old: tuple[Any, ...], new: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys((*old, *new)))


# --- tables -----------------------------------------------------------------------------------------------------------

TABLE: Final[dict[tuple[TransactionStatus, type[Request]], Rule]] = {
    (S.EMPTY, InitProducerId): ownership.initialise,
    (S.EMPTY, AddToTransaction): owned(_add),
    (S.EMPTY, Commit): ending.INVALID,
    (S.EMPTY, Abort): ending.by_version(one=ending.INVALID, two=ending.ABORT_NOTHING),
    (S.EMPTY, TimeOut): ownership.expire,
    (S.ONGOING, InitProducerId): ownership.fence_and_initialise,
    (S.ONGOING, AddToTransaction): owned(_add),
    (S.ONGOING, Commit): ending.prepare(S.PREPARE_COMMIT),
    (S.ONGOING, Abort): ending.prepare(S.PREPARE_ABORT),
    (S.ONGOING, TimeOut): ownership.time_out,
    # The prepared states outlive a request only if writing failed (disk full) or in recovery: whoever comes next
    # completes them first.
    (S.PREPARE_COMMIT, InitProducerId): complete_first,
    (S.PREPARE_COMMIT, AddToTransaction): owned(complete_first),
    (S.PREPARE_COMMIT, Commit): ending.FINISH,
    (S.PREPARE_COMMIT, Abort): ending.CONTRADICTS_PREPARED,
    (S.PREPARE_COMMIT, TimeOut): finish,
    (S.PREPARE_COMMIT, MarkersWritten): ending.completed(S.COMPLETE_COMMIT),
    (S.PREPARE_ABORT, InitProducerId): complete_first,
    (S.PREPARE_ABORT, AddToTransaction): owned(complete_first),
    (S.PREPARE_ABORT, Commit): ending.CONTRADICTS_PREPARED,
    (S.PREPARE_ABORT, Abort): ending.FINISH,
    (S.PREPARE_ABORT, TimeOut): finish,
    (S.PREPARE_ABORT, MarkersWritten): ending.completed(S.COMPLETE_ABORT),
    (S.PREPARE_EPOCH_FENCE, InitProducerId): complete_first,
    (S.PREPARE_EPOCH_FENCE, AddToTransaction): owned(complete_first),
    (S.PREPARE_EPOCH_FENCE, Commit): ending.by_version(one=ending.INVALID, two=complete_first),
    (S.PREPARE_EPOCH_FENCE, Abort): ending.by_version(one=owned(finish), two=complete_first),
    (S.PREPARE_EPOCH_FENCE, TimeOut): finish,
    (S.PREPARE_EPOCH_FENCE, AbortFenced): ending.prepare_abort_of_fenced,
    (S.COMPLETE_COMMIT, InitProducerId): ownership.initialise,
    (S.COMPLETE_COMMIT, AddToTransaction): owned(_add),
    (S.COMPLETE_COMMIT, Commit): ending.by_version(
        one=ending.DONE,
        two=ending.retried_or(retry=ending.answer_retry(ErrorCode.none), otherwise=ending.INVALID),
    ),
    (S.COMPLETE_COMMIT, Abort): ending.by_version(
        one=ending.INVALID,
        two=ending.retried_or(retry=ending.answer_retry(ErrorCode.invalid_txn_state), otherwise=ending.ABORT_NOTHING),
    ),
    (S.COMPLETE_COMMIT, TimeOut): ownership.expire,
    (S.COMPLETE_ABORT, InitProducerId): ownership.initialise,
    (S.COMPLETE_ABORT, AddToTransaction): owned(_add),
    (S.COMPLETE_ABORT, Commit): ending.by_version(
        one=ending.INVALID,
        two=ending.retried_or(retry=ending.answer_retry(ErrorCode.invalid_txn_state), otherwise=ending.INVALID),
    ),
    (S.COMPLETE_ABORT, Abort): ending.by_version(
        one=ending.DONE,
        two=ending.retried_or(retry=ending.answer_retry(ErrorCode.none), otherwise=ending.ABORT_NOTHING),
    ),
    (S.COMPLETE_ABORT, TimeOut): ownership.expire,
}

TRANSITIONS: Final[frozenset[tuple[TransactionStatus, TransactionStatus]]] = frozenset(
    {
        (S.EMPTY, S.EMPTY),
        (S.EMPTY, S.ONGOING),
        (S.EMPTY, S.PREPARE_ABORT),
        (S.EMPTY, S.DEAD),
        (S.ONGOING, S.ONGOING),
        (S.ONGOING, S.PREPARE_COMMIT),
        (S.ONGOING, S.PREPARE_ABORT),
        (S.ONGOING, S.PREPARE_EPOCH_FENCE),
        (S.PREPARE_EPOCH_FENCE, S.PREPARE_ABORT),
        (S.PREPARE_COMMIT, S.COMPLETE_COMMIT),
        (S.PREPARE_ABORT, S.COMPLETE_ABORT),
        (S.COMPLETE_COMMIT, S.EMPTY),
        (S.COMPLETE_COMMIT, S.ONGOING),
        (S.COMPLETE_COMMIT, S.PREPARE_ABORT),
        (S.COMPLETE_COMMIT, S.DEAD),
        (S.COMPLETE_ABORT, S.EMPTY),
        (S.COMPLETE_ABORT, S.ONGOING),
        (S.COMPLETE_ABORT, S.PREPARE_ABORT),
        (S.COMPLETE_ABORT, S.DEAD),
    }
)


def apply(states: dict[str, TransactionState], record: TransactionState) -> None:
    """Put a record into the states; live and in recovery."""
    if record.status is S.DEAD:
        states.pop(record.transactional_id, None)
    else:
        states[record.transactional_id] = record
