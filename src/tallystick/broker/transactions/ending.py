"""Rules of how a transaction ends, in version 1 (KIP-98) and version 2 (KIP-890). Pure.

Owns: EndTxn, its retries, and what completion makes of a prepared transaction. Must not know: which state they apply in
(``machine``).

In version 2 the decision itself raises the epoch, and the markers carry the raised one. So whatever of the ended
transaction is still on its way is refused by its epoch, in every partition and here; and a retry is known by the epoch
before, while in version 1 a late EndTxn looks like one of the next transaction (rule 15).
"""

from __future__ import annotations

from typing import Any

import msgspec

from tallystick.broker.transactions.records import (
    EPOCH_RISES_AT_END,
    NO_PRODUCER_ID,
    TransactionState,
    TransactionStatus,
)
from tallystick.broker.transactions.requests import (
    NOTHING,
    Decision,
    EndTransaction,
    MarkersWritten,
    Rule,
    Then,
    check_owner,
    finish,
    owned,
    refuse,
)
from tallystick.errors import IllegalTransition
from tallystick.wire.errors import ErrorCode

INVALID: Rule = owned(lambda _state, _request, _now_ms: refuse(ErrorCode.invalid_txn_state))
DONE: Rule = owned(lambda _state, _request, _now_ms: NOTHING)


def by_version(*, one: Rule, two: Rule) -> Rule:
    """A rule of its own for each transaction version of the request."""

    def rule(state: TransactionState, request: EndTransaction, now_ms: int) -> Decision:
        chosen = two if request.transaction_version >= EPOCH_RISES_AT_END else one
        return chosen(state, request, now_ms)

    return rule


def is_retry(state: TransactionState, request: EndTransaction) -> bool:
    """Whether this is the request that made the present epoch, again (version 2).

    Apache Kafka compares epochs only; that the present epoch was made for this producer is asked here, too, so that no
    zombie is taken for its own successor.
    """
    if request.producer_epoch != state.last_producer_epoch:
        return False
    if request.producer_id == state.producer_id:
        return request.producer_epoch + 1 == state.producer_epoch
    return request.producer_id == state.previous_producer_id and state.producer_epoch == 0


def retried_or(*, retry: Rule, otherwise: Rule) -> Rule:
    """Version 2: one rule for the retry of what ended last, another for everything else."""

    def rule(state: TransactionState, request: EndTransaction, now_ms: int) -> Decision:
        return (retry if is_retry(state, request) else otherwise)(state, request, now_ms)

    return rule


def prepare(status: TransactionStatus) -> Rule:
    """The decision about an open transaction."""

    def keeping(state: TransactionState, request: EndTransaction, now_ms: int) -> Decision:
        return Decision(
            msgspec.structs.replace(
                state, status=status, client_transaction_version=request.transaction_version, updated_ms=now_ms
            ),
            then=Then.COMPLETE_AND_REPLY,
        )

    return owned(by_version(one=keeping, two=_raising(status)))


def _raising(status: TransactionStatus) -> Rule:
    def rule(state: TransactionState, request: EndTransaction, now_ms: int) -> Decision:
        if state.is_exhausted and request.fresh_producer_id == NO_PRODUCER_ID:
            raise IllegalTransition("transaction", state.status.value, f"a raise of epoch {state.producer_epoch}")
        return Decision(
            msgspec.structs.replace(
                state,
                status=status,
                producer_epoch=state.producer_epoch + 1,
                last_producer_epoch=state.producer_epoch,
                next_producer_id=request.fresh_producer_id if state.is_exhausted else NO_PRODUCER_ID,
                client_transaction_version=request.transaction_version,
                # An abort without a transaction begins and ends here: a client that does not know whether its first
                # write arrived wants an epoch that this write does not have.
                started_ms=state.started_ms if state.status is TransactionStatus.ONGOING else now_ms,
                updated_ms=now_ms,
            ),
            then=Then.COMPLETE_AND_REPLY,
        )

    return rule


ABORT_NOTHING: Rule = owned(_raising(TransactionStatus.PREPARE_ABORT))
"""Version 2: an abort without an open transaction raises the epoch."""


def _not_its_owner(state: TransactionState, request: EndTransaction, _now_ms: int) -> Decision:
    """A prepared transaction has its new epoch already, which nobody was told yet: so nobody owns it but its retry."""
    error = check_owner(state, request.producer_id, request.producer_epoch)
    return refuse(ErrorCode.producer_fenced if error is ErrorCode.none else error)


FINISH: Rule = by_version(one=owned(finish), two=retried_or(retry=finish, otherwise=_not_its_owner))
CONTRADICTS_PREPARED: Rule = by_version(
    one=INVALID,
    two=retried_or(
        retry=lambda _state, _request, _now_ms: refuse(ErrorCode.invalid_txn_state), otherwise=_not_its_owner
    ),
)


def answer_retry(error: ErrorCode) -> Rule:
    """The retry's answer, once the transaction is complete; the error ``none`` if it asks for what was done."""
    return lambda _state, _request, _now_ms: refuse(error)


def prepare_abort_of_fenced(state: TransactionState, _request: Any, now_ms: int) -> Decision:
    """The epoch was raised by fencing: only the state changes."""
    aborting = msgspec.structs.replace(state, status=TransactionStatus.PREPARE_ABORT, updated_ms=now_ms)
    return Decision(aborting, then=Then.COMPLETE_AND_REPLY)


def completed(status: TransactionStatus) -> Rule:
    """Every marker and every offset is in place; an exhausted producer id gives way to the next one."""

    def rule(state: TransactionState, _request: MarkersWritten, now_ms: int) -> Decision:
        done = msgspec.structs.replace(
            state,
            status=status,
            partitions=(),
            groups=(),
            previous_producer_id=NO_PRODUCER_ID,
            next_producer_id=NO_PRODUCER_ID,
            updated_ms=now_ms,
        )
        if state.next_producer_id != NO_PRODUCER_ID:
            done = msgspec.structs.replace(
                done,
                producer_id=state.next_producer_id,
                producer_epoch=0,
                previous_producer_id=state.producer_id,
            )
        return Decision(done)

    return rule
