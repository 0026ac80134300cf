"""Successes that must not exist: kept, called a break, with a refund proposed (rule 35).

Owns: ``tallystick_effect_suspense``. Must not know: how a refund is made; nobody makes one by himself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from sqlalchemy import Connection, Engine, select, update
from sqlalchemy.engine import RowMapping

from tallystick.boundary import schema
from tallystick.boundary.database import reading
from tallystick.boundary.effect_ledger.attempt import Attempt, sealed_as
from tallystick.boundary.effects import State
from tallystick.boundary.provider import Outcome
from tallystick.boundary.statements import insert
from tallystick.clock import Clock
from tallystick.errors import ConfigurationError, IllegalTransition

_s = schema.effect_suspense.c


class BreakKind(Enum):
    """What kind of break a success in suspense opens."""

    DUPLICATE = "DUPLICATE"
    """The attempt has succeeded with another object: the customer paid twice."""
    LATE_SUCCESS = "LATE_SUCCESS"
    """The attempt is closed as declined or absent; a later one may have succeeded, or none."""
    UNSENT = "UNSENT"
    """Nothing was sent for the attempt: somebody else charged under our reference."""


@dataclass(frozen=True, slots=True)
class Suspended:
    """One success in suspense, with the refund that is proposed for it."""

    provider: str
    provider_object_id: str
    attempt_id: str
    state: State
    """The attempt's, when the success arrived."""
    kind: BreakKind
    amount_minor: int
    currency: str
    proposed_refund_minor: int
    created_at_ms: int
    closed_at_ms: int | None
    closed_by: str | None
    closed_reason: str | None


OnSuspense = Callable[[Connection, Attempt, Suspended], None]
"""Called in the SQL transaction that puts a success into suspense: the books' entry and the outbox row go there."""

_KINDS: Final = {State.SUCCEEDED: BreakKind.DUPLICATE, State.CREATED: BreakKind.UNSENT, State.CLAIMED: BreakKind.UNSENT}


class Suspense:
    """Puts successes into suspense, and lists and closes them."""

    def __init__(self, engine: Engine, clock: Clock, *, on_suspense: OnSuspense | None) -> None:
        self._engine = engine
        self._clock = clock
        self._on_suspense = on_suspense

    def keep(self, connection: Connection, attempt: Attempt, outcome: Outcome) -> bool:
        """Keep a success that the attempt cannot take. False if it was kept before. The attempt does not change."""
        unfinished = attempt.state in (State.SENT, State.UNKNOWN, State.RESOLVING, State.PENDING_ACTION)
        own = attempt.state is State.SUCCEEDED and attempt.provider_object_id == outcome.provider_object_id
        if unfinished or own:
            raise IllegalTransition("effect attempt", attempt.state.value, "late success")
        amount_minor = attempt.amount_minor if outcome.amount_minor is None else outcome.amount_minor
        kind = _KINDS.get(attempt.state, BreakKind.LATE_SUCCESS)
        statement = insert(connection, schema.effect_suspense).values(
            provider=attempt.provider,
            provider_object_id=outcome.provider_object_id,
            attempt_id=attempt.attempt_id,
            state=attempt.state.value,
            kind=kind.value,
            amount_minor=amount_minor,
            currency=outcome.currency or attempt.currency,
            proposed_refund_minor=amount_minor,
            response=sealed_as(
                connection, attempt, outcome.response, place=f"suspense {attempt.provider} {outcome.provider_object_id}"
            ),
            created_at_ms=self._clock.now_ms(),
        )
        row = (
            connection.execute(statement.on_conflict_do_nothing().returning(schema.effect_suspense))
            .mappings()
            .one_or_none()
        )
        if row is None:
            return False
        if self._on_suspense is not None:
            self._on_suspense(connection, attempt, _suspended(row))
        return True

    def entries(self, *, closed: bool = False) -> tuple[Suspended, ...]:
        """What is in suspense, oldest first; with ``closed`` also what somebody has closed."""
        query = select(schema.effect_suspense).order_by(_s.created_at_ms, _s.provider_object_id)
        if not closed:
            query = query.where(_s.closed_at_ms.is_(None))
        with reading(self._engine) as connection:
            return tuple(_suspended(row) for row in connection.execute(query).mappings())

    def close(self, connection: Connection, *, provider: str, provider_object_id: str, by: str, reason: str) -> None:
        """A person has dealt with it: refunded, or kept on purpose. Who and why is kept."""
        if not by.strip() or not reason.strip():
            raise ConfigurationError("closing a suspense entry needs who does it and a reason", rule=35)
        closed = connection.execute(
            update(schema.effect_suspense)
            .where(_s.provider == provider, _s.provider_object_id == provider_object_id, _s.closed_at_ms.is_(None))
            .values(closed_at_ms=self._clock.now_ms(), closed_by=by, closed_reason=reason)
            .returning(_s.provider_object_id)
        ).scalar_one_or_none()
        if closed is None:
            raise ConfigurationError(f"nothing of {provider} with id {provider_object_id!r} is open in suspense")


def _suspended(row: RowMapping) -> Suspended:
    fields = {name: row[name] for name in Suspended.__dataclass_fields__}
    fields["state"] = State(fields["state"])
    fields["kind"] = BreakKind(fields["kind"])
    return Suspended(**fields)
