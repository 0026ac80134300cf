"""Reading the ledger: attempts, what is unknown, how much is at risk.

Owns: queries that change nothing. Must not know: who asks.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Engine, func, select

from tallystick.boundary import schema
from tallystick.boundary.database import reading
from tallystick.boundary.effect_ledger import statements
from tallystick.boundary.effect_ledger.attempt import Attempt, attempt_of, response_place
from tallystick.boundary.effects import OPEN_STATES, State
from tallystick.boundary.erasure.subject_keys import opened

_a = schema.effect_attempt.c
UNSETTLED = (State.SENT, State.UNKNOWN, State.RESOLVING, State.PENDING_ACTION)
"""Bytes have left, and it is not known what came of them: each holds value at risk."""


class Register:
    """Answers questions about attempts."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def attempts(self, *, states: Iterable[State] | None, intent_id: str | None) -> tuple[Attempt, ...]:
        query = select(schema.effect_attempt).order_by(_a.created_at_ms, _a.attempt_id)
        if states is not None:
            query = query.where(_a.state.in_(statements.names(states)))
        if intent_id is not None:
            query = query.where(_a.intent_id == intent_id)
        with reading(self._engine) as connection:
            return tuple(attempt_of(connection, row) for row in connection.execute(query).mappings())

    def attempt(self, attempt_id: str) -> Attempt | None:
        query = select(schema.effect_attempt).where(_a.attempt_id == attempt_id)
        with reading(self._engine) as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else attempt_of(connection, row)

    def response(self, attempt_id: str) -> bytes | None:
        with reading(self._engine) as connection:
            found: bytes | None = connection.execute(
                select(_a.response).where(_a.attempt_id == attempt_id)
            ).scalar_one_or_none()
            return None if found is None else opened(connection, found, place=response_place(attempt_id))

    def count_by_state(self, *, provider: str | None) -> dict[State, int]:
        query = select(_a.state, func.count()).group_by(_a.state)
        if provider is not None:
            query = query.where(_a.provider == provider)
        counts = dict.fromkeys(State, 0)
        with reading(self._engine) as connection:
            for name, count in connection.execute(query):
                counts[State(name)] = count
        return counts

    def open_count(self, *, provider: str) -> int:
        """Attempts that a dispatcher still has work with: every open state but PENDING_ACTION."""
        working = OPEN_STATES - {State.PENDING_ACTION}
        with reading(self._engine) as connection:
            return int(
                connection.execute(
                    select(func.count())
                    .select_from(schema.effect_attempt)
                    .where(_a.provider == provider, _a.state.in_(statements.names(working)))
                ).scalar_one()
            )

    def known_objects(self, attempt: Attempt) -> frozenset[str]:
        """Provider objects already recorded for other attempts of the same intent, or in suspense."""
        suspense = schema.effect_suspense.c
        with reading(self._engine) as connection:
            rows = connection.execute(
                select(_a.provider_object_id)
                .where(
                    _a.intent_id == attempt.intent_id,
                    _a.attempt_id != attempt.attempt_id,
                    _a.provider_object_id.is_not(None),
                )
                .union(
                    select(suspense.provider_object_id)
                    .join(schema.effect_attempt, _a.attempt_id == suspense.attempt_id)
                    .where(_a.intent_id == attempt.intent_id)
                )
            ).scalars()
            return frozenset(rows)
