"""What is asked of the state machine of a transactional id, and the form of its decisions.

Owns: the request types and ``Decision``. Must not know: which state answers what (``machine``).
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tallystick.broker.transactions.records import NO_PRODUCER_EPOCH, NO_PRODUCER_ID, TransactionState
from tallystick.wire.errors import ErrorCode


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
    """Add partitions or groups; the first addition begins a transaction.

    Transaction version 1 asks for it by AddPartitionsToTxn and AddOffsetsToTxn, version 2 by writing (KIP-890).
    """

    producer_id: int
    producer_epoch: int
    partitions: tuple[tuple[str, int], ...] = ()
    groups: tuple[str, ...] = ()
    transaction_version: int = 0


@dataclass(frozen=True, slots=True)
class EndTransaction:
    """EndTxn. ``fresh_producer_id`` must be one that nobody has if the epoch is exhausted in transaction version 2."""

    producer_id: int
    producer_epoch: int
    transaction_version: int = 0
    fresh_producer_id: int = NO_PRODUCER_ID


@dataclass(frozen=True, slots=True)
class Commit(EndTransaction):
    """EndTxn with ``committed`` true."""


@dataclass(frozen=True, slots=True)
class Abort(EndTransaction):
    """EndTxn with ``committed`` false."""


@dataclass(frozen=True, slots=True)
class TimeOut:
    """The clock says that it is time to look at timeout and expiry. ``expiration_ms`` is how long an id may idle.

    ``fresh_producer_id`` must be one that nobody has if the epoch is exhausted.
    """

    expiration_ms: int
    fresh_producer_id: int = NO_PRODUCER_ID


@dataclass(frozen=True, slots=True)
class AbortFenced:
    """Go on after fencing: prepare the abort of the fenced producer's transaction."""


@dataclass(frozen=True, slots=True)
class MarkersWritten:
    """Every partition has its marker and every group has its offsets."""


Request = InitProducerId | AddToTransaction | Commit | Abort | TimeOut | AbortFenced | MarkersWritten


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
"""State, request and time in milliseconds to a decision."""


def refuse(error: ErrorCode) -> Decision:
    return Decision(error=error)


def check_owner(state: TransactionState, producer_id: int, producer_epoch: int) -> ErrorCode:
    """Whether this producer owns the transactional id now."""
    if producer_id != state.producer_id:
        return ErrorCode.invalid_producer_id_mapping
    if producer_epoch != state.producer_epoch:
        return ErrorCode.producer_fenced
    return ErrorCode.none


def owned(rule: Rule) -> Rule:
    """A rule for the owner only."""

    def checked(state: TransactionState, request: Any, now_ms: int) -> Decision:
        error = check_owner(state, request.producer_id, request.producer_epoch)
        return refuse(error) if error is not ErrorCode.none else rule(state, request, now_ms)

    return checked


def complete_first(_state: TransactionState, _request: Any, _now_ms: int) -> Decision:
    return Decision(then=Then.COMPLETE_AND_ASK_AGAIN)


def finish(_state: TransactionState, _request: Any, _now_ms: int) -> Decision:
    return Decision(then=Then.COMPLETE_AND_REPLY)
