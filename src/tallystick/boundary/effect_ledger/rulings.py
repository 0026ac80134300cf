"""What a person decides about an attempt that nobody else can settle, with the reason.

Owns: ``tallystick_effect_ruling``. Must not know: who may rule; that is the operator's matter.

A ruling goes through the same table as every other outcome: UNKNOWN or PENDING_ACTION, by way of RESOLVING. It never
sends anything, and it never rules about bytes that may be on their way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import Connection, Engine, select, update
from sqlalchemy.engine import RowMapping

from tallystick.boundary import schema
from tallystick.boundary.database import reading
from tallystick.boundary.effect_ledger.attempt import Attempt, OnOutcome, attempt_of
from tallystick.boundary.effect_ledger.leases import new_token
from tallystick.boundary.effect_ledger.outcomes import Outcomes
from tallystick.boundary.effects import Event, State, transition
from tallystick.boundary.provider import Outcome, OutcomeKind
from tallystick.clock import Clock
from tallystick.errors import ConfigurationError

_a = schema.effect_attempt.c
_KINDS: Final = {
    State.SUCCEEDED: OutcomeKind.SUCCEEDED,
    State.DECLINED: OutcomeKind.DECLINED,
    State.ABSENT_CONFIRMED: OutcomeKind.ABSENT,
}
_MAX_TEXT: Final = 2_000


@dataclass(frozen=True, slots=True)
class Ruling:
    """Who decided what about an attempt, when and why."""

    attempt_id: str
    from_state: State
    to_state: State
    provider_object_id: str | None
    ruled_by: str
    reason: str
    ruled_at_ms: int


class Rulings:
    """Rules, and reads what was ruled."""

    def __init__(self, engine: Engine, clock: Clock, outcomes: Outcomes) -> None:
        self._engine = engine
        self._clock = clock
        self._outcomes = outcomes

    def rule(self, ruling: Ruling, on_outcome: OnOutcome) -> Attempt:
        """Settle the attempt as ruled, with its postings, in one SQL transaction."""
        _check(ruling)
        with self._engine.begin() as connection:
            token = new_token(connection)  # before the row is locked: in the order of those who claim
            attempt = self._locked(connection, ruling.attempt_id)
            now_ms = self._clock.now_ms()
            if attempt.resend_until_ms is not None and now_ms < attempt.resend_until_ms:
                # inside the window a dispatcher may send these bytes at any moment: "it did not happen" may be untrue
                _only_success(ruling, attempt)
            held = self._taken(connection, attempt, token)
            outcome = Outcome(
                _KINDS[ruling.to_state],
                provider_object_id=ruling.provider_object_id,
                amount_minor=attempt.amount_minor,
                currency=attempt.currency,
                code="ruling",
            )
            settled = self._outcomes.apply(connection, held, outcome, on_outcome)
            if settled is None:
                raise ConfigurationError(f"attempt {attempt.attempt_id} changed meanwhile", remedy="Look again")
            connection.execute(
                schema.effect_ruling.insert().values(
                    attempt_id=attempt.attempt_id,
                    from_state=attempt.state.value,
                    to_state=settled.state.value,
                    provider_object_id=ruling.provider_object_id,
                    ruled_by=ruling.ruled_by,
                    reason=ruling.reason,
                    ruled_at_ms=now_ms,
                )
            )
            return settled

    def of(self, attempt_id: str) -> tuple[Ruling, ...]:
        """The rulings about an attempt, oldest first."""
        table = schema.effect_ruling
        query = select(table).where(table.c.attempt_id == attempt_id).order_by(table.c.ruling)
        with reading(self._engine) as connection:
            return tuple(_ruling(row) for row in connection.execute(query).mappings())

    def _locked(self, connection: Connection, attempt_id: str) -> Attempt:
        query = select(schema.effect_attempt).where(_a.attempt_id == attempt_id).with_for_update()
        row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise ConfigurationError(f"there is no attempt {attempt_id!r}", remedy="'tallystick effects list' has them")
        attempt = attempt_of(connection, row)
        if attempt.state not in (State.UNKNOWN, State.PENDING_ACTION):
            raise ConfigurationError(
                f"attempt {attempt_id} is {attempt.state.value}: only UNKNOWN and PENDING_ACTION can be ruled about",
                rule=29,
                remedy="An attempt that a dispatcher holds becomes UNKNOWN when its lease ends",
            )
        return attempt

    def _taken(self, connection: Connection, attempt: Attempt, token: int) -> Attempt:
        row = connection.execute(
            update(schema.effect_attempt)
            .where(_a.attempt_id == attempt.attempt_id)
            .values(state=transition(attempt.state, Event.RESOLVE).value, fencing_token=token)
            .returning(schema.effect_attempt)
        )
        # a person may say "absent" of what the provider has once told us of
        return replace(attempt_of(connection, row.mappings().one()), action_deadline_ms=None)


def _check(ruling: Ruling) -> None:
    if ruling.to_state not in _KINDS:
        raise ConfigurationError(f"an attempt cannot be ruled {ruling.to_state.value}")
    for name, value in (("who rules", ruling.ruled_by), ("the reason", ruling.reason)):
        if not value.strip() or len(value) > _MAX_TEXT:
            raise ConfigurationError(f"{name} is 1 to {_MAX_TEXT} characters")
    if (ruling.to_state is State.SUCCEEDED) != (ruling.provider_object_id is not None):
        raise ConfigurationError("a success is ruled with the provider's object, nothing else is")


def _only_success(ruling: Ruling, attempt: Attempt) -> None:
    if ruling.to_state is not State.SUCCEEDED:
        raise ConfigurationError(
            f"attempt {attempt.attempt_id} may still be sent again under its key, until {attempt.resend_until_ms} ms",
            rule=32,
            remedy="Let it, or rule when that time is over; a success can be ruled at once",
        )


def _ruling(row: RowMapping) -> Ruling:
    fields = {name: row[name] for name in Ruling.__dataclass_fields__}
    fields["from_state"] = State(fields["from_state"])
    fields["to_state"] = State(fields["to_state"])
    return Ruling(**fields)
