"""The statements of the effect ledger, drawn from the transition table.

Owns: their text. Must not know: when they run. A state's name stands in SQL only by way of ``effects``.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    LargeBinary,
    Select,
    String,
    Update,
    and_,
    bindparam,
    case,
    func,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningUpdate

from tallystick.boundary import schema
from tallystick.boundary.effects import Event, State, sources

_a = schema.effect_attempt.c

# Built once: a charge costs one of each, and SQLAlchemy takes longer to build a statement than SQLite to run it.
RECORD: Final = (
    update(schema.effect_attempt)
    .where(
        _a.attempt_id == bindparam("b_attempt_id"),
        _a.fencing_token == bindparam("b_fencing_token"),
        _a.state == bindparam("b_state"),
    )
    .values(
        state=bindparam("b_target"),
        lease_owner=null(),
        lease_until_ms=0,
        not_before_ms=bindparam("b_not_before_ms"),
        resend_until_ms=func.coalesce(bindparam("b_resend_until_ms", type_=BigInteger), _a.resend_until_ms),
        outcome_code=bindparam("b_outcome_code"),
        response_status=bindparam("b_response_status"),
        response=func.coalesce(bindparam("b_response", type_=LargeBinary), _a.response),
        provider_object_id=func.coalesce(bindparam("b_provider_object_id", type_=String), _a.provider_object_id),
        action_deadline_ms=func.coalesce(bindparam("b_action_deadline_ms", type_=BigInteger), _a.action_deadline_ms),
        captured_minor=bindparam("b_captured_minor"),
        fee_minor=bindparam("b_fee_minor"),
        settled_at_ms=bindparam("b_settled_at_ms"),
    )
    .returning(schema.effect_attempt)
)
CAPTURE: Final = (
    update(schema.effect_intent)
    .where(schema.effect_intent.c.intent_id == bindparam("b_intent_id"))
    .values(captured_minor=schema.effect_intent.c.captured_minor + bindparam("b_captured_minor"))
)


@cache
def insert_intent(dialect: str) -> sqlite.Insert | postgresql.Insert:
    """An intent, unless its id is there; returns the id if it was new. Parameters are named as the columns."""
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    names_of_values = ("intent_id", "provider", "operation", "reference", "amount_minor", "currency", "request_hash")
    statement = insert(schema.effect_intent).values(
        {name: bindparam(name) for name in (*names_of_values, "created_at_ms")}
    )
    statement = statement.on_conflict_do_nothing(index_elements=["intent_id"])
    returning: Any = statement.returning(schema.effect_intent.c.intent_id)
    return returning  # type: ignore[no-any-return]


INSERT_ATTEMPT: Final = schema.effect_attempt.insert()


_NOW: Final = bindparam("b_now_ms", type_=BigInteger)
_UNLEASED: Final = and_(_a.lease_until_ms <= _NOW, _a.not_before_ms <= _NOW)


def _due(event: Event) -> ColumnElement[bool]:
    """What may be claimed to be sent, or to be looked up (then with ``b_quiet_ms``)."""
    in_state = _a.state.in_(names(sources(event)))
    if event is Event.CLAIM:
        return and_(in_state, _UNLEASED, or_(_a.resend_until_ms.is_(None), _a.resend_until_ms > _NOW))
    quiet_since = _a.last_sent_at_ms + bindparam("b_quiet_ms", type_=BigInteger)
    waits = _a.state == State.PENDING_ACTION.value
    return and_(in_state, _UNLEASED, _a.resend_until_ms <= _NOW, or_(quiet_since <= _NOW, waits))


def _expired() -> ColumnElement[bool]:
    return and_(
        _a.provider == bindparam("b_provider"),
        _a.state.in_(names(sources(Event.EXPIRE))),
        _a.lease_until_ms <= _NOW,
    )


@cache
def is_due(event: Event) -> Select[tuple[str]]:
    """One attempt that ``event`` is due for, or whose lease has run out."""
    mine = and_(_a.provider == bindparam("b_provider"), _due(event))
    return select(_a.attempt_id).where(or_(mine, _expired())).limit(1)


@cache
def expire() -> Update:
    return (
        update(schema.effect_attempt)
        .where(_expired())
        .values(state=next_state(Event.EXPIRE), lease_owner=null(), lease_until_ms=0, not_before_ms=_NOW)
    )


@cache
def lease(event: Event) -> ReturningUpdate[Any]:
    """Take ``event`` with the oldest ``b_limit`` attempts that are due."""
    oldest = (
        select(_a.attempt_id)
        .where(_a.provider == bindparam("b_provider"), _due(event))
        .order_by(_a.created_at_ms, _a.attempt_id)
        .limit(bindparam("b_limit", type_=Integer))
        .with_for_update(skip_locked=True)
    )
    return (
        update(schema.effect_attempt)
        .where(_a.attempt_id.in_(oldest.scalar_subquery()))
        .values(
            state=next_state(event),
            fencing_token=bindparam("b_token"),
            lease_owner=bindparam("b_owner"),
            lease_until_ms=bindparam("b_lease_until_ms"),
        )
        .returning(schema.effect_attempt)
    )


@cache
def mark_sent() -> ReturningUpdate[Any]:
    """SENT, for those of ``b_attempt_ids`` that are still leased under ``b_token`` and inside their window."""
    return (
        update(schema.effect_attempt)
        .where(
            _a.attempt_id.in_(bindparam("b_attempt_ids", expanding=True)),
            _a.fencing_token == bindparam("b_token"),
            _a.state.in_(names(sources(Event.SEND))),
            or_(_a.resend_until_ms.is_(None), _a.resend_until_ms > _NOW),
        )
        .values(
            state=next_state(Event.SEND),
            times_sent=_a.times_sent + 1,
            first_sent_at_ms=func.coalesce(_a.first_sent_at_ms, _NOW),
            last_sent_at_ms=_NOW,
            window_ms=func.coalesce(_a.window_ms, bindparam("b_window_ms", type_=BigInteger)),
            resend_until_ms=func.coalesce(_a.resend_until_ms, bindparam("b_resend_until_ms", type_=BigInteger)),
            lease_until_ms=bindparam("b_lease_until_ms"),
        )
        .returning(schema.effect_attempt)
    )


def next_state(event: Event) -> ColumnElement[str]:
    """The transition table's column for ``event``, as a CASE over the present state."""
    return case({source.value: target.value for source, target in sources(event).items()}, value=_a.state)


def names(states: Iterable[State]) -> list[str]:
    return sorted(state.value for state in states)
