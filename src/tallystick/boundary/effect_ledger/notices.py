"""What the provider tells without being asked: a webhook's event or a line of a settlement, as a notice.

Owns: which attempt a notice is about, and what it may change there. Must not know: signatures, formats, deliveries.

Notices come twice, late and in any order. One that repeats what stands here does nothing; one that contradicts a
settled attempt goes into suspense (rule 35); one that cannot say which attempt it is about changes nothing, because a
wrong "declined" would let a second charge exist. What a notice leaves open, a look-up settles.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, or_, select, update

from tallystick.boundary import schema
from tallystick.boundary.effect_ledger.attempt import Attempt, OnOutcome, attempt_of
from tallystick.boundary.effect_ledger.leases import new_token
from tallystick.boundary.effect_ledger.outcomes import Outcomes
from tallystick.boundary.effect_ledger.suspense import Suspense
from tallystick.boundary.effects import TERMINAL_STATES, Event, State, transition
from tallystick.boundary.provider import Outcome, OutcomeKind

_a = schema.effect_attempt.c
_UNSENT: Final = (State.CREATED, State.CLAIMED)
_SETTLES: Final = {OutcomeKind.SUCCEEDED, OutcomeKind.DECLINED, OutcomeKind.PENDING_ACTION}


@dataclass(frozen=True, slots=True)
class Notice:
    """``outcome`` of something at ``provider``. The key names an attempt exactly, the object's id one that is known
    already, the reference only an intent."""

    provider: str
    outcome: Outcome
    provider_key: str | None = None
    reference: str | None = None
    operation: str = "charge"


class Told(Enum):
    """What a notice did."""

    SETTLED = "settled"
    REPEATED = "repeated"
    """It stands here already, or something later does."""
    SUSPENDED = "suspended"
    NOT_OURS = "not-ours"
    """No attempt has this key, object or reference."""
    LEFT_OPEN = "left-open"
    """More than one attempt could be meant: a look-up will tell."""


class Notices:
    """Brings notices into the ledger, in the caller's transaction."""

    def __init__(self, outcomes: Outcomes, suspense: Suspense) -> None:
        self._outcomes = outcomes
        self._suspense = suspense

    def tell(self, connection: Connection, notice: Notice, on_outcome: OnOutcome) -> Told:
        outcome = notice.outcome
        if outcome.kind not in _SETTLES or outcome.provider_object_id is None:
            return Told.LEFT_OPEN
        token = new_token(connection)  # before the rows are locked: in the order of those who claim
        found = _attempts(connection, notice)
        if not found:
            return Told.NOT_OURS
        attempt, certain = _meant(found, notice)
        if attempt.state in TERMINAL_STATES or attempt.state in _UNSENT:
            return self._against_settled(connection, attempt, outcome)
        other = attempt.provider_object_id not in (None, outcome.provider_object_id)
        if other or (not certain and outcome.kind is not OutcomeKind.SUCCEEDED):
            return Told.LEFT_OPEN
        if outcome.kind is OutcomeKind.PENDING_ACTION and attempt.state is not State.UNKNOWN:
            return Told.REPEATED
        held = _take(connection, attempt, token)
        self._outcomes.apply(connection, held, outcome, on_outcome)
        return Told.SETTLED

    def _against_settled(self, connection: Connection, attempt: Attempt, outcome: Outcome) -> Told:
        if outcome.kind is not OutcomeKind.SUCCEEDED:
            return Told.REPEATED
        if attempt.state is State.SUCCEEDED and attempt.provider_object_id == outcome.provider_object_id:
            return Told.REPEATED
        kept = self._suspense.keep(connection, attempt, outcome)
        return Told.SUSPENDED if kept else Told.REPEATED


def _attempts(connection: Connection, notice: Notice) -> list[Attempt]:
    """Every attempt that the notice can be about, locked, oldest first."""
    ways: list[ColumnElement[bool]] = [_a.provider_object_id == notice.outcome.provider_object_id]
    if notice.provider_key is not None:
        ways.append(_a.provider_key == notice.provider_key)
    if notice.reference is not None:
        same_kind = or_(_a.operation == notice.operation, _a.operation.startswith(f"{notice.operation}:"))
        ways.append(and_(_a.reference == notice.reference, same_kind))
    query = (
        select(schema.effect_attempt)
        .where(_a.provider == notice.provider, or_(*ways))
        .order_by(_a.intent_id, _a.attempt_number)
        .with_for_update()
    )
    return [attempt_of(connection, row) for row in connection.execute(query).mappings()]


def _meant(found: list[Attempt], notice: Notice) -> tuple[Attempt, bool]:
    """The attempt that is meant, and whether that is certain."""
    for attempt in found:
        if attempt.provider_object_id == notice.outcome.provider_object_id:
            return attempt, True
    if notice.provider_key is not None:
        for attempt in found:
            if attempt.provider_key == notice.provider_key:
                return attempt, True
    # By reference alone: certain only if one attempt was sent whose object is not known yet.
    nameless = [attempt for attempt in found if attempt.times_sent and attempt.provider_object_id is None]
    if not nameless:
        return found[-1], False
    return nameless[-1], len(nameless) == 1


def _take(connection: Connection, attempt: Attempt, token: int) -> Attempt:
    """Fence whoever holds the attempt, and bring it where an outcome may be recorded."""
    resolving = attempt.state in (State.UNKNOWN, State.PENDING_ACTION)
    state = transition(attempt.state, Event.RESOLVE) if resolving else attempt.state
    row = connection.execute(
        update(schema.effect_attempt)
        .where(_a.attempt_id == attempt.attempt_id)
        .values(state=state.value, fencing_token=token, lease_owner=None, lease_until_ms=0)
        .returning(schema.effect_attempt)
    )
    return attempt_of(connection, row.mappings().one())
