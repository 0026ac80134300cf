"""Effects outside SQL and Kafka, each with a committed row before its first byte leaves.

Owns: ``tallystick_effect_intent``, ``tallystick_effect_attempt`` and ``tallystick_effect_suspense``. Must not know:
HTTP, any one provider, what an outcome means in the books (a callback does).

The statements are drawn from the transition table in ``effects``. A claim is a lease with a fencing token: every
later statement names the token, so that a dispatcher whose lease was taken over changes nothing (rule 30).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    and_,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.engine import RowMapping

from tallystick.boundary import effect_statements as statements
from tallystick.boundary import schema
from tallystick.boundary.database import reading
from tallystick.boundary.effects import OPEN_STATES, TERMINAL_STATES, Event, State, sources, transition
from tallystick.boundary.owner_epoch import next_epoch
from tallystick.boundary.provider import Outcome, OutcomeKind, ProviderPolicy
from tallystick.boundary.statements import insert
from tallystick.clock import Clock, SystemClock
from tallystick.errors import ConfigurationError, IllegalTransition, TallystickError
from tallystick.ids import body_hash, deterministic_id
from tallystick.killpoints import declare, reach

BEFORE_OUTCOME_COMMIT: Final = declare(
    "effect.before-outcome-commit", "outcome, posting and outbox row are written, their SQL transaction is open"
)
AFTER_OUTCOME_COMMIT: Final = declare("effect.after-outcome-commit", "the outcome's SQL transaction is committed")

_TOKEN_COUNTER: Final = "tallystick.effect-token"  # noqa: S105  a counter's name
_a = schema.effect_attempt.c

EVENT_OF: Final[dict[OutcomeKind, Event]] = {
    OutcomeKind.SUCCEEDED: Event.SUCCEED,
    OutcomeKind.DECLINED: Event.DECLINE,
    OutcomeKind.PENDING_ACTION: Event.REQUIRE_ACTION,
    OutcomeKind.UNKNOWN: Event.LOSE,
    OutcomeKind.LATER: Event.LOSE,
    OutcomeKind.ABSENT: Event.CONFIRM_ABSENT,
}


class IntentConflict(TallystickError):
    """The intent id exists with another provider, amount, currency or request (rule 27)."""


class ProviderMismatch(TallystickError):
    """The provider says that it captured something else than was asked: somebody has to look."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at an intent, as its row stands. Times in milliseconds since the epoch."""

    attempt_id: str
    intent_id: str
    attempt_number: int
    provider: str
    reference: str
    amount_minor: int
    currency: str
    provider_key: str
    request: bytes
    state: State
    fencing_token: int
    times_sent: int
    first_sent_at_ms: int | None
    last_sent_at_ms: int | None
    resend_until_ms: int | None
    provider_object_id: str | None
    captured_minor: int | None
    fee_minor: int | None
    outcome_code: str | None


OnOutcome = Callable[[Connection, Attempt, Outcome], None]
"""Called once for every committed change to SUCCEEDED, DECLINED, PENDING_ACTION or ABSENT_CONFIRMED, in the SQL
transaction of that change: postings and the outbox row go there (rule 34). Never called for UNKNOWN. ``attempt``
carries the new state. Raising rolls back the change; the attempt will be settled again."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What one recording did: attempts by their new state, and those whose lease was lost meanwhile."""

    settled: tuple[Attempt, ...] = ()
    fenced: int = 0


class EffectLedger:
    """The effect tables of one database. Holds no state of its own; threads may share it."""

    def __init__(self, engine: Engine, *, key_secret: bytes | None = None, clock: Clock | None = None) -> None:
        """``key_secret`` keys the provider keys; without it the database's own, made by ``create_tables``."""
        if key_secret is not None and len(key_secret) < 16:
            raise ConfigurationError("a key secret has at least 16 bytes", rule=36)
        self._engine = engine
        self._key_secret = key_secret
        self._clock = clock or SystemClock()

    # -- creating: in the caller's transaction, beside the rows that want the effect

    def create_intent(
        self,
        connection: Connection,
        *,
        intent_id: str,
        provider: str,
        amount_minor: int,
        currency: str,
        reference: str,
        request: bytes,
    ) -> bool:
        """Insert the intent and its first attempt; False if it exists already, identically.

        ``request`` is the exact body to send; ``reference`` is the text in it under which the provider's listing
        finds the charge again, unique per intent. Raises ``IntentConflict`` if the id exists with another content.
        """
        values = {
            "intent_id": intent_id,
            "provider": provider,
            "amount_minor": amount_minor,
            "currency": currency,
            "reference": reference,
            "request_hash": body_hash(request),
        }
        created = connection.execute(
            statements.insert_intent(connection.dialect.name), {**values, "created_at_ms": self._clock.now_ms()}
        ).scalar_one_or_none()
        if created is None:
            found = self._intent(connection, intent_id)
            for name, value in values.items():
                if found[name] != value:
                    raise IntentConflict(f"intent {intent_id}: {name} is {found[name]!r}, now asked {value!r}")
            return False
        self._insert_attempt(connection, values, number=1, request=request)
        return True

    def add_attempt(self, connection: Connection, *, intent_id: str, request: bytes) -> int:
        """The next attempt, with a new key; returns its number.

        Only after the last one is DECLINED or ABSENT_CONFIRMED (rule 32): otherwise ``IllegalTransition``.
        """
        last = (
            connection.execute(
                select(_a.attempt_number, _a.state)
                .where(_a.intent_id == intent_id)
                .order_by(_a.attempt_number.desc())
                .limit(1)
            )
            .mappings()
            .one_or_none()
        )
        if last is None:
            raise IllegalTransition("effect intent", "ABSENT", f"add an attempt to {intent_id}")
        if last["state"] not in (State.DECLINED.value, State.ABSENT_CONFIRMED.value):
            raise IllegalTransition("effect intent", f"attempt {last['state']}", f"add an attempt to {intent_id}")
        number = int(last["attempt_number"]) + 1
        self._insert_attempt(connection, dict(self._intent(connection, intent_id)), number=number, request=request)
        return number

    def _insert_attempt(self, connection: Connection, intent: dict[str, Any], *, number: int, request: bytes) -> None:
        attempt_id = deterministic_id("tallystick.effect-attempt", intent["intent_id"], number)
        connection.execute(
            statements.INSERT_ATTEMPT,
            {
                "attempt_id": attempt_id,
                "intent_id": intent["intent_id"],
                "attempt_number": number,
                "provider": intent["provider"],
                "reference": intent["reference"],
                "amount_minor": intent["amount_minor"],
                "currency": intent["currency"],
                "provider_key": self._provider_key(connection, attempt_id),
                "request": request,
                "request_hash": body_hash(request),
                "state": State.CREATED.value,
                "created_at_ms": self._clock.now_ms(),
            },
        )

    def _provider_key(self, connection: Connection, attempt_id: str) -> str:
        """HMAC-SHA256 in 64 hexadecimal characters: a guessable key would expose our responses (rule 36)."""
        if self._key_secret is None:
            self._key_secret = connection.execute(
                select(schema.secret.c.value).where(schema.secret.c.name == schema.PROVIDER_KEY_SECRET)
            ).scalar_one()
        return hmac.new(self._key_secret, attempt_id.encode(), hashlib.sha256).hexdigest()

    def _intent(self, connection: Connection, intent_id: str) -> RowMapping:
        return (
            connection.execute(select(schema.effect_intent).where(schema.effect_intent.c.intent_id == intent_id))
            .mappings()
            .one()
        )

    # -- sending

    def claim(self, *, provider: str, owner: str, limit: int, lease_ms: int) -> tuple[Attempt, ...]:
        """Lease up to ``limit`` attempts that may be sent now, oldest first, under one new fencing token.

        Due are: new ones, ones whose claim ran out unsent, and unknown ones inside their provider's window. Attempts
        whose lease ran out after SENT become UNKNOWN here.
        """
        now_ms = self._clock.now_ms()
        due = statements.claimable(now_ms)
        return self._lease(Event.CLAIM, due, now_ms, provider=provider, owner=owner, limit=limit, lease_ms=lease_ms)

    def mark_sent(self, attempts: Sequence[Attempt], *, policy: ProviderPolicy, lease_ms: int) -> tuple[Attempt, ...]:
        """Commit SENT, before the first byte leaves; returns those that may be sent, with their deadlines.

        Left out are attempts whose lease another dispatcher has taken, and re-sends that are past the window now.
        """
        if not attempts:
            return ()
        now_ms = self._clock.now_ms()
        with self._engine.begin() as connection:
            rows = connection.execute(
                update(schema.effect_attempt)
                .where(
                    _a.attempt_id.in_([attempt.attempt_id for attempt in attempts]),
                    _a.fencing_token == attempts[0].fencing_token,
                    _a.state.in_(statements.names(sources(Event.SEND))),
                    or_(_a.resend_until_ms.is_(None), _a.resend_until_ms > now_ms),
                )
                .values(
                    state=statements.next_state(Event.SEND),
                    times_sent=_a.times_sent + 1,
                    first_sent_at_ms=func.coalesce(_a.first_sent_at_ms, now_ms),
                    last_sent_at_ms=now_ms,
                    window_ms=func.coalesce(_a.window_ms, policy.window_ms),
                    resend_until_ms=func.coalesce(_a.resend_until_ms, now_ms + policy.window_ms - policy.margin_ms),
                    lease_until_ms=now_ms + lease_ms,
                )
                .returning(schema.effect_attempt)
            ).mappings()
            return tuple(_attempt(row) for row in rows)

    # -- resolving

    def claim_unresolved(
        self, *, provider: str, owner: str, limit: int, lease_ms: int, quiet_ms: int
    ) -> tuple[Attempt, ...]:
        """Lease unknown attempts that may not be sent again and were last sent at least ``quiet_ms`` ago."""
        now_ms = self._clock.now_ms()
        due = statements.resolvable(now_ms, quiet_ms)
        return self._lease(Event.RESOLVE, due, now_ms, provider=provider, owner=owner, limit=limit, lease_ms=lease_ms)

    def known_objects(self, attempt: Attempt) -> frozenset[str]:
        """Provider objects already recorded for other attempts of the same intent."""
        with reading(self._engine) as connection:
            rows = connection.execute(
                select(_a.provider_object_id).where(
                    _a.intent_id == attempt.intent_id,
                    _a.attempt_id != attempt.attempt_id,
                    _a.provider_object_id.is_not(None),
                )
            ).scalars()
            return frozenset(rows)

    # -- recording

    def record(
        self, results: Iterable[tuple[Attempt, Outcome]], on_outcome: OnOutcome, *, retry_ms: int = 500
    ) -> Recorded:
        """Record outcomes with their postings, all in one SQL transaction (rule 34).

        ``retry_ms`` is the pause before an unknown attempt is tried again; it doubles with each send, up to 64 times.
        """
        settled: list[Attempt] = []
        fenced = 0
        now_ms = self._clock.now_ms()
        with self._engine.begin() as connection:
            for attempt, outcome in results:
                changed = self._record_one(connection, attempt, outcome, now_ms=now_ms, retry_ms=retry_ms)
                if changed is None:
                    fenced += 1
                    continue
                settled.append(changed)
                if changed.state is not State.UNKNOWN:
                    on_outcome(connection, changed, outcome)
            reach(BEFORE_OUTCOME_COMMIT)
        reach(AFTER_OUTCOME_COMMIT)
        return Recorded(settled=tuple(settled), fenced=fenced)

    def _record_one(
        self, connection: Connection, attempt: Attempt, outcome: Outcome, *, now_ms: int, retry_ms: int
    ) -> Attempt | None:
        target = transition(attempt.state, EVENT_OF[outcome.kind])
        succeeded = target is State.SUCCEEDED
        if succeeded:
            _check_success(attempt, outcome)
        row = (
            connection.execute(
                statements.RECORD,
                {
                    "b_attempt_id": attempt.attempt_id,
                    "b_fencing_token": attempt.fencing_token,
                    "b_state": attempt.state.value,
                    "b_target": target.value,
                    "b_outcome_code": outcome.code,
                    "b_response_status": outcome.status,
                    "b_response": outcome.response or None,
                    "b_not_before_ms": _not_before_ms(attempt, outcome, now_ms=now_ms, retry_ms=retry_ms),
                    # a replayed failure: sending again says nothing new, only a look-up can
                    "b_resend_until_ms": now_ms if outcome.replayed_failure else None,
                    "b_provider_object_id": None if target is State.UNKNOWN else outcome.provider_object_id,
                    "b_captured_minor": outcome.amount_minor if succeeded else None,
                    "b_fee_minor": outcome.fee_minor if succeeded else None,
                    "b_settled_at_ms": now_ms if target in TERMINAL_STATES else None,
                },
            )
            .mappings()
            .one_or_none()
        )
        if row is None:
            return None
        if succeeded:
            connection.execute(
                statements.CAPTURE, {"b_intent_id": attempt.intent_id, "b_captured_minor": outcome.amount_minor}
            )
        return _attempt(row)

    def record_late_success(self, connection: Connection, attempt: Attempt, outcome: Outcome) -> bool:
        """Keep a success that arrives for an attempt which is settled otherwise, or by another charge (rule 35).

        The attempt does not change; the row in suspense is what a DUPLICATE break and a refund start from. False if
        it was kept before.
        """
        if attempt.state not in TERMINAL_STATES or attempt.provider_object_id == outcome.provider_object_id:
            raise IllegalTransition("effect attempt", attempt.state.value, "late success")
        statement = insert(connection, schema.effect_suspense).values(
            provider=attempt.provider,
            provider_object_id=outcome.provider_object_id,
            attempt_id=attempt.attempt_id,
            state=attempt.state.value,
            amount_minor=outcome.amount_minor,
            currency=outcome.currency,
            response=outcome.response or None,
            created_at_ms=self._clock.now_ms(),
        )
        return (
            connection.execute(
                statement.on_conflict_do_nothing().returning(schema.effect_suspense.c.provider_object_id)
            ).scalar_one_or_none()
            is not None
        )

    # -- reading

    def attempts(self, *, states: Iterable[State] | None = None, intent_id: str | None = None) -> tuple[Attempt, ...]:
        """Attempts in the given states (all of them if None), oldest first."""
        query = select(schema.effect_attempt).order_by(_a.created_at_ms, _a.attempt_id)
        if states is not None:
            query = query.where(_a.state.in_(statements.names(states)))
        if intent_id is not None:
            query = query.where(_a.intent_id == intent_id)
        with reading(self._engine) as connection:
            return tuple(_attempt(row) for row in connection.execute(query).mappings())

    def list_unknown(self) -> tuple[Attempt, ...]:
        """The register of unknown outcomes: value at risk until each is settled."""
        return self.attempts(states=(State.SENT, State.UNKNOWN, State.RESOLVING))

    def count_by_state(self, *, provider: str | None = None) -> dict[State, int]:
        """Attempts by state; states without any are 0."""
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

    # -- inside

    def _lease(
        self,
        event: Event,
        due: ColumnElement[bool],
        now_ms: int,
        *,
        provider: str,
        owner: str,
        limit: int,
        lease_ms: int,
    ) -> tuple[Attempt, ...]:
        """Take ``event`` with up to ``limit`` attempts that are ``due``, oldest first, under one new fencing token."""
        if not self._is_due(provider, now_ms, due):
            return ()
        with self._engine.begin() as connection:
            token = next_epoch(connection, _TOKEN_COUNTER)
            self._expire(connection, provider, now_ms)
            oldest = (
                select(_a.attempt_id)
                .where(_a.provider == provider, due)
                .order_by(_a.created_at_ms, _a.attempt_id)
                .limit(limit)
                .with_for_update(skip_locked=True)
            )
            rows = connection.execute(
                update(schema.effect_attempt)
                .where(_a.attempt_id.in_(oldest.scalar_subquery()))
                .values(
                    state=statements.next_state(event),
                    fencing_token=token,
                    lease_owner=owner,
                    lease_until_ms=now_ms + lease_ms,
                )
                .returning(schema.effect_attempt)
            ).mappings()
            return tuple(_attempt(row) for row in rows)

    def _is_due(self, provider: str, now_ms: int, wanted: ColumnElement[bool]) -> bool:
        """A look without a write lock, so that an idle dispatcher disturbs nobody."""
        expired = and_(_a.state.in_(statements.names(sources(Event.EXPIRE))), _a.lease_until_ms <= now_ms)
        query = select(_a.attempt_id).where(_a.provider == provider, or_(wanted, expired)).limit(1)
        with reading(self._engine) as connection:
            return connection.execute(query).scalar_one_or_none() is not None

    def _expire(self, connection: Connection, provider: str, now_ms: int) -> None:
        connection.execute(
            update(schema.effect_attempt)
            .where(
                _a.provider == provider,
                _a.state.in_(statements.names(sources(Event.EXPIRE))),
                _a.lease_until_ms <= now_ms,
            )
            .values(state=statements.next_state(Event.EXPIRE), lease_owner=None, lease_until_ms=0, not_before_ms=now_ms)
        )


def _not_before_ms(attempt: Attempt, outcome: Outcome, *, now_ms: int, retry_ms: int) -> int:
    """When an unknown attempt is due again; the provider's own pause goes before ours."""
    if outcome.retry_after_ms is not None:
        return now_ms + outcome.retry_after_ms
    return now_ms + (retry_ms << min(max(attempt.times_sent - 1, 0), 6))


def _check_success(attempt: Attempt, outcome: Outcome) -> None:
    asked = (attempt.amount_minor, attempt.currency.upper())
    told = (outcome.amount_minor, (outcome.currency or "").upper())
    if outcome.provider_object_id is None or asked != told:
        raise ProviderMismatch(
            f"attempt {attempt.attempt_id}: asked for {asked}, {attempt.provider} says it captured {told} "
            f"as {outcome.provider_object_id}"
        )


_ATTEMPT_FIELDS: Final = tuple(Attempt.__dataclass_fields__)


def _attempt(row: RowMapping) -> Attempt:
    fields = {name: row[name] for name in _ATTEMPT_FIELDS}
    fields["state"] = State(fields["state"])
    return Attempt(**fields)
