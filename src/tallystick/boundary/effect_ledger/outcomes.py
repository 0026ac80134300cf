"""Recording what came of an attempt, with its postings, in one SQL transaction (rule 34).

Owns: how an outcome becomes a transition and a row. Must not know: who heard the outcome, what it means in the books.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sqlalchemy import Connection, Engine, select

from tallystick.boundary import schema
from tallystick.boundary.backoff import Backoff
from tallystick.boundary.effect_ledger import statements
from tallystick.boundary.effect_ledger.attempt import (
    Attempt,
    OnOutcome,
    Recorded,
    attempt_of,
    check_success,
    response_place,
    sealed_as,
)
from tallystick.boundary.effect_ledger.suspense import Suspense
from tallystick.boundary.effects import TERMINAL_STATES, Event, State, transition
from tallystick.boundary.provider import Outcome, OutcomeKind
from tallystick.clock import Clock
from tallystick.killpoints import declare, reach

BEFORE_OUTCOME_COMMIT: Final = declare(
    "effect.before-outcome-commit", "outcome, posting and outbox row are written, their SQL transaction is open"
)
AFTER_OUTCOME_COMMIT: Final = declare("effect.after-outcome-commit", "the outcome's SQL transaction is committed")

EVENT_OF: Final[dict[OutcomeKind, Event]] = {
    OutcomeKind.SUCCEEDED: Event.SUCCEED,
    OutcomeKind.DECLINED: Event.DECLINE,
    OutcomeKind.PENDING_ACTION: Event.REQUIRE_ACTION,
    OutcomeKind.UNKNOWN: Event.LOSE,
    OutcomeKind.LATER: Event.LOSE,
    OutcomeKind.ABSENT: Event.CONFIRM_ABSENT,
}


class Outcomes:
    """Writes outcomes under the attempt's fencing token; a stale token changes nothing."""

    def __init__(self, engine: Engine, clock: Clock, suspense: Suspense, backoff: Backoff) -> None:
        self._engine = engine
        self._clock = clock
        self._suspense = suspense
        self._backoff = backoff

    def record(
        self, results: Iterable[tuple[Attempt, Outcome]], on_outcome: OnOutcome, *, backoff: Backoff | None
    ) -> Recorded:
        """Record outcomes with their postings, all in one SQL transaction."""
        settled: list[Attempt] = []
        fenced = suspended = 0
        with self._engine.begin() as connection:
            for attempt, outcome in results:
                changed = self.apply(connection, attempt, outcome, on_outcome, backoff=backoff)
                if changed is None:
                    fenced += 1
                    suspended += self._keep_what_came_late(connection, attempt, outcome)
                else:
                    settled.append(changed)
            reach(BEFORE_OUTCOME_COMMIT)
        reach(AFTER_OUTCOME_COMMIT)
        return Recorded(settled=tuple(settled), fenced=fenced, suspended=suspended)

    def apply(
        self,
        connection: Connection,
        attempt: Attempt,
        outcome: Outcome,
        on_outcome: OnOutcome,
        *,
        backoff: Backoff | None = None,
    ) -> Attempt | None:
        """One outcome in the caller's transaction; None if the attempt's lease was taken over."""
        event = _event(attempt, outcome)
        target = transition(attempt.state, event)
        if target is State.SUCCEEDED:
            check_success(attempt, outcome)
        now_ms = self._clock.now_ms()
        values = self._values(attempt, outcome, target, now_ms, backoff or self._backoff)
        place = response_place(attempt.attempt_id)
        values["b_response"] = sealed_as(connection, attempt, outcome.response, place=place)
        row = connection.execute(statements.RECORD, values).mappings().one_or_none()
        if row is None:
            return None
        changed = attempt_of(connection, row)
        if target is State.SUCCEEDED:
            connection.execute(
                statements.CAPTURE, {"b_intent_id": attempt.intent_id, "b_captured_minor": outcome.amount_minor}
            )
        still_waits = target is State.PENDING_ACTION and attempt.action_deadline_ms is not None
        if target is not State.UNKNOWN and not still_waits:
            on_outcome(connection, changed, outcome)
        return changed

    def _values(
        self, attempt: Attempt, outcome: Outcome, target: State, now_ms: int, backoff: Backoff
    ) -> dict[str, object]:
        waits = target is State.PENDING_ACTION
        succeeded = target is State.SUCCEEDED
        tries = max(attempt.times_sent - 1, 0)
        pause_ms = backoff.delay_ms(tries) if outcome.retry_after_ms is None else outcome.retry_after_ms
        deadline_ms = None
        if waits:
            pause_ms = outcome.look_again_ms
            deadline_ms = attempt.action_deadline_ms or now_ms + outcome.action_window_ms
        return {
            "b_attempt_id": attempt.attempt_id,
            "b_fencing_token": attempt.fencing_token,
            "b_state": attempt.state.value,
            "b_target": target.value,
            "b_outcome_code": outcome.code,
            "b_response_status": outcome.status,
            "b_not_before_ms": now_ms + pause_ms,
            # a replayed failure: sending again says nothing new, only a look-up can. A payment that waits for its
            # customer exists, so it is looked up as well
            "b_resend_until_ms": now_ms if outcome.replayed_failure or waits else None,
            "b_provider_object_id": None if target is State.UNKNOWN else outcome.provider_object_id,
            "b_captured_minor": outcome.amount_minor if succeeded else None,
            "b_fee_minor": outcome.fee_minor if succeeded else None,
            "b_settled_at_ms": now_ms if target in TERMINAL_STATES else None,
            "b_action_deadline_ms": deadline_ms,
        }

    def _keep_what_came_late(self, connection: Connection, attempt: Attempt, outcome: Outcome) -> bool:
        """A success that its attempt no longer waits for is not lost: it goes into suspense (rule 35)."""
        if outcome.kind is not OutcomeKind.SUCCEEDED or outcome.provider_object_id is None:
            return False
        now = self._current(connection, attempt)
        own = now.state is State.SUCCEEDED and now.provider_object_id == outcome.provider_object_id
        if now.state not in TERMINAL_STATES or own:
            return False  # whoever has the lease now will hear of it under the same key
        return self._suspense.keep(connection, now, outcome)

    def _current(self, connection: Connection, attempt: Attempt) -> Attempt:
        query = select(schema.effect_attempt).where(schema.effect_attempt.c.attempt_id == attempt.attempt_id)
        return attempt_of(connection, connection.execute(query).mappings().one())


def _event(attempt: Attempt, outcome: Outcome) -> Event:
    event = EVENT_OF[outcome.kind]
    waited = attempt.state is State.RESOLVING and attempt.action_deadline_ms is not None
    if waited and event in (Event.LOSE, Event.CONFIRM_ABSENT):
        return Event.REQUIRE_ACTION  # the provider has told us of it once: a look that shows nothing changes nothing
    return event
