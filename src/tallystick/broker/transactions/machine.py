"""The transaction state machine of one transactional id: pure (KIP-98, KIP-360, transaction version 1).

Owns: which request is answered how in which state, and which state follows. Must not know: journals, partitions,
groups, clocks, sockets.

``decide`` looks up (state, request) in ``TABLE``; every pair is there, and a pair that cannot occur raises
``IllegalTransition``. The records that it returns are appended first and applied then, live as in recovery.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from tallystick.broker.transactions.records import (
    NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID,
    TransactionState,
    TransactionStatus,
)
from tallystick.errors import IllegalTransition
from tallystick.wire.errors import ErrorCode

MAX_EPOCH: Final = 32767
"""The highest epoch. It is never given to a producer: it is left for fencing the one before it."""

S = TransactionStatus


# --- requests ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InitProducerId:
    """Take over the transactional id. ``producer_id`` and ``producer_epoch`` are the caller's own (KIP-360), or -1.

    ``fresh_producer_id`` is a producer id that nobody has, to be used if a new one is needed.
    """

    transactional_id: str
    timeout_ms: int
    fresh_producer_id: int
    producer_id: int = NO_PRODUCER_ID
    producer_epoch: int = NO_PRODUCER_EPOCH


@dataclass(frozen=True, slots=True)
class AddToTransaction:
    """Add partitions (AddPartitionsToTxn) or groups (AddOffsetsToTxn); the first addition begins a transaction."""

    producer_id: int
    producer_epoch: int
    partitions: tuple[tuple[str, int], ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Commit:
    """EndTxn with ``committed`` true."""

    producer_id: int
    producer_epoch: int


@dataclass(frozen=True, slots=True)
class Abort:
    """EndTxn with ``committed`` false."""

    producer_id: int
    producer_epoch: int


@dataclass(frozen=True, slots=True)
class TimeOut:
    """The clock says that it is time to look at timeout and expiry. ``expiration_ms`` is how long an id may idle."""

    expiration_ms: int


@dataclass(frozen=True, slots=True)
class AbortFenced:
    """Go on after fencing: prepare the abort of the fenced producer's transaction."""


@dataclass(frozen=True, slots=True)
class MarkersWritten:
    """Every partition has its marker and every group has its offsets."""


Request = InitProducerId | AddToTransaction | Commit | Abort | TimeOut | AbortFenced | MarkersWritten


# --- decisions --------------------------------------------------------------------------------------------------------


class Then(enum.Enum):
    """What the driver does after the records are applied."""

    REPLY = "reply"
    COMPLETE_AND_REPLY = "complete the prepared transaction, then reply"
    COMPLETE_AND_ASK_AGAIN = "complete the prepared transaction, then decide the same request anew"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to append and apply, and how to answer."""

    record: TransactionState | None = None
    error: ErrorCode = ErrorCode.none
    then: Then = Then.REPLY


NOTHING: Final = Decision()
Rule = Callable[[TransactionState, Any, int], Decision]


def refuse(error: ErrorCode) -> Decision:
    return Decision(error=error)


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


def check_owner(state: TransactionState, producer_id: int, producer_epoch: int) -> ErrorCode:
    """Whether this producer owns the transactional id now."""
    if producer_id != state.producer_id:
        return ErrorCode.invalid_producer_id_mapping
    if producer_epoch != state.producer_epoch:
        return ErrorCode.producer_fenced
    return ErrorCode.none


# --- rules ------------------------------------------------------------------------------------------------------------


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


def _initialise(state: TransactionState, request: InitProducerId, now_ms: int) -> Decision:
    if not _may_initialise(state, request):
        return refuse(ErrorCode.producer_fenced)
    named = request.producer_id != NO_PRODUCER_ID
    if state.producer_epoch >= MAX_EPOCH - 1 and not _is_repeated(state, request):
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
    if _is_repeated(state, request):
        return Decision(_emptied(state, request, now_ms))
    return Decision(
        _emptied(
            state,
            request,
            now_ms,
            producer_epoch=state.producer_epoch + 1,
            last_producer_epoch=state.producer_epoch if named else NO_PRODUCER_EPOCH,
        )
    )


def _is_repeated(state: TransactionState, request: InitProducerId) -> bool:
    """The request that made the present epoch, again, because its answer was lost: it gets the same answer."""
    return (
        request.producer_id != NO_PRODUCER_ID
        and (request.producer_id, request.producer_epoch) != (state.producer_id, state.producer_epoch)
        and state.producer_epoch < MAX_EPOCH
    )


def _emptied(state: TransactionState, request: InitProducerId, now_ms: int, **changes: int) -> TransactionState:
    return msgspec.structs.replace(
        state,
        status=S.EMPTY,
        timeout_ms=request.timeout_ms,
        partitions=(),
        groups=(),
        started_ms=-1,
        updated_ms=now_ms,
        **changes,
    )


def _fence_and_initialise(state: TransactionState, request: InitProducerId, now_ms: int) -> Decision:
    """InitProducerId in an open transaction: the old producer is fenced and its transaction aborted before the answer.

    Apache Kafka answers CONCURRENT_TRANSACTIONS here and lets the client come again; the epochs end up the same.
    """
    owner = (state.producer_id, state.producer_epoch)
    if request.producer_id != NO_PRODUCER_ID and (request.producer_id, request.producer_epoch) != owner:
        return refuse(ErrorCode.producer_fenced)
    fenced = _fenced(state, now_ms, last_producer_epoch=request.producer_epoch)
    return Decision(fenced, then=Then.COMPLETE_AND_ASK_AGAIN)


def _fenced(state: TransactionState, now_ms: int, *, last_producer_epoch: int = NO_PRODUCER_EPOCH) -> TransactionState:
    if state.producer_epoch >= MAX_EPOCH:
        raise IllegalTransition("transaction", state.status.value, f"fencing of epoch {state.producer_epoch}")
    return msgspec.structs.replace(
        state,
        status=S.PREPARE_EPOCH_FENCE,
        producer_epoch=state.producer_epoch + 1,
        last_producer_epoch=last_producer_epoch,
        updated_ms=now_ms,
    )


def _add(state: TransactionState, request: AddToTransaction, now_ms: int) -> Decision:
    error = check_owner(state, request.producer_id, request.producer_epoch)
    if error is not ErrorCode.none:
        return refuse(error)
    partitions = _union(state.partitions, request.partitions)
    groups = _union(state.groups, request.groups)
    if state.status is S.ONGOING:
        if (partitions, groups) == (state.partitions, state.groups):
            return NOTHING
        return Decision(msgspec.structs.replace(state, partitions=partitions, groups=groups, updated_ms=now_ms))
    return Decision(
        msgspec.structs.replace(
            state,
            status=S.ONGOING,
            partitions=request.partitions,
            groups=request.groups,
            started_ms=now_ms,
            updated_ms=now_ms,
        )
    )


def _union(old: tuple[Any, ...], new: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys((*old, *new)))


def _owned(rule: Rule) -> Rule:
    """A rule for the owner only."""

    def checked(state: TransactionState, request: Any, now_ms: int) -> Decision:
        error = check_owner(state, request.producer_id, request.producer_epoch)
        return refuse(error) if error is not ErrorCode.none else rule(state, request, now_ms)

    return checked


def _answer(error: ErrorCode) -> Rule:
    return _owned(lambda _state, _request, _now_ms: refuse(error))


def _change(status: TransactionStatus, then: Then) -> Rule:
    def rule(state: TransactionState, _request: Any, now_ms: int) -> Decision:
        return Decision(msgspec.structs.replace(state, status=status, updated_ms=now_ms), then=then)

    return rule


def _complete_first(_state: TransactionState, _request: Any, _now_ms: int) -> Decision:
    return Decision(then=Then.COMPLETE_AND_ASK_AGAIN)


def _finish(_state: TransactionState, _request: Any, _now_ms: int) -> Decision:
    return Decision(then=Then.COMPLETE_AND_REPLY)


def _completed(status: TransactionStatus) -> Rule:
    def rule(state: TransactionState, _request: MarkersWritten, now_ms: int) -> Decision:
        return Decision(msgspec.structs.replace(state, status=status, partitions=(), groups=(), updated_ms=now_ms))

    return rule


def _time_out(state: TransactionState, _request: TimeOut, now_ms: int) -> Decision:
    if now_ms < state.started_ms + state.timeout_ms:
        return NOTHING
    # The epoch rises, so that the slow producer learns of it and cannot add to what was aborted (rule 14).
    return Decision(_fenced(state, now_ms), then=Then.COMPLETE_AND_REPLY)


def _expire(state: TransactionState, request: TimeOut, now_ms: int) -> Decision:
    if now_ms < state.updated_ms + request.expiration_ms:
        return NOTHING
    return Decision(msgspec.structs.replace(state, status=S.DEAD, updated_ms=now_ms))


# --- tables -----------------------------------------------------------------------------------------------------------

TABLE: Final[dict[tuple[TransactionStatus, type[Request]], Rule]] = {
    (S.EMPTY, InitProducerId): _initialise,
    (S.EMPTY, AddToTransaction): _add,
    (S.EMPTY, Commit): _answer(ErrorCode.invalid_txn_state),
    (S.EMPTY, Abort): _answer(ErrorCode.invalid_txn_state),
    (S.EMPTY, TimeOut): _expire,
    (S.ONGOING, InitProducerId): _fence_and_initialise,
    (S.ONGOING, AddToTransaction): _add,
    (S.ONGOING, Commit): _owned(_change(S.PREPARE_COMMIT, Then.COMPLETE_AND_REPLY)),
    (S.ONGOING, Abort): _owned(_change(S.PREPARE_ABORT, Then.COMPLETE_AND_REPLY)),
    (S.ONGOING, TimeOut): _time_out,
    # The prepared states outlive a request only if writing failed (disk full) or in recovery: whoever comes next
    # completes them first.
    (S.PREPARE_COMMIT, InitProducerId): _complete_first,
    (S.PREPARE_COMMIT, AddToTransaction): _owned(_complete_first),
    (S.PREPARE_COMMIT, Commit): _owned(_finish),
    (S.PREPARE_COMMIT, Abort): _answer(ErrorCode.invalid_txn_state),
    (S.PREPARE_COMMIT, TimeOut): _finish,
    (S.PREPARE_COMMIT, MarkersWritten): _completed(S.COMPLETE_COMMIT),
    (S.PREPARE_ABORT, InitProducerId): _complete_first,
    (S.PREPARE_ABORT, AddToTransaction): _owned(_complete_first),
    (S.PREPARE_ABORT, Commit): _answer(ErrorCode.invalid_txn_state),
    (S.PREPARE_ABORT, Abort): _owned(_finish),
    (S.PREPARE_ABORT, TimeOut): _finish,
    (S.PREPARE_ABORT, MarkersWritten): _completed(S.COMPLETE_ABORT),
    (S.PREPARE_EPOCH_FENCE, InitProducerId): _complete_first,
    (S.PREPARE_EPOCH_FENCE, AddToTransaction): _owned(_complete_first),
    (S.PREPARE_EPOCH_FENCE, Commit): _answer(ErrorCode.invalid_txn_state),
    (S.PREPARE_EPOCH_FENCE, Abort): _owned(_finish),
    (S.PREPARE_EPOCH_FENCE, TimeOut): _finish,
    (S.PREPARE_EPOCH_FENCE, AbortFenced): _change(S.PREPARE_ABORT, Then.COMPLETE_AND_REPLY),
    (S.COMPLETE_COMMIT, InitProducerId): _initialise,
    (S.COMPLETE_COMMIT, AddToTransaction): _add,
    (S.COMPLETE_COMMIT, Commit): _answer(ErrorCode.none),
    (S.COMPLETE_COMMIT, Abort): _answer(ErrorCode.invalid_txn_state),
    (S.COMPLETE_COMMIT, TimeOut): _expire,
    (S.COMPLETE_ABORT, InitProducerId): _initialise,
    (S.COMPLETE_ABORT, AddToTransaction): _add,
    (S.COMPLETE_ABORT, Commit): _answer(ErrorCode.invalid_txn_state),
    (S.COMPLETE_ABORT, Abort): _answer(ErrorCode.none),
    (S.COMPLETE_ABORT, TimeOut): _expire,
}

TRANSITIONS: Final[frozenset[tuple[TransactionStatus, TransactionStatus]]] = frozenset(
    {
        (S.EMPTY, S.EMPTY),
        (S.EMPTY, S.ONGOING),
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
        (S.COMPLETE_COMMIT, S.DEAD),
        (S.COMPLETE_ABORT, S.EMPTY),
        (S.COMPLETE_ABORT, S.ONGOING),
        (S.COMPLETE_ABORT, S.DEAD),
    }
)


def apply(states: dict[str, TransactionState], record: TransactionState) -> None:
    """Put a record into the states; live and in recovery."""
    if record.status is S.DEAD:
        states.pop(record.transactional_id, None)
    else:
        states[record.transactional_id] = record
