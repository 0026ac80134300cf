"""The statements of the effect ledger, drawn from the transition table.

Owns: their text. Must not know: when they run. A state's name stands in SQL only by way of ``effects``.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, LargeBinary, String, and_, bindparam, case, func, null, or_, update
from sqlalchemy.dialects import postgresql, sqlite

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


def claimable(now_ms: int) -> ColumnElement[bool]:
    return and_(
        _a.state.in_(names(sources(Event.CLAIM))),
        _a.lease_until_ms <= now_ms,
        _a.not_before_ms <= now_ms,
        or_(_a.resend_until_ms.is_(None), _a.resend_until_ms > now_ms),
    )


def resolvable(now_ms: int, quiet_ms: int) -> ColumnElement[bool]:
    return and_(
        _a.state.in_(names(sources(Event.RESOLVE))),
        _a.lease_until_ms <= now_ms,
        _a.not_before_ms <= now_ms,
        _a.resend_until_ms <= now_ms,
        or_(_a.last_sent_at_ms + quiet_ms <= now_ms, _a.state == State.PENDING_ACTION.value),
    )


def next_state(event: Event) -> ColumnElement[str]:
    """The transition table's column for ``event``, as a CASE over the present state."""
    return case({source.value: target.value for source, target in sources(event).items()}, value=_a.state)


def names(states: Iterable[State]) -> list[str]:
    return sorted(state.value for state in states)
