"""The effect tables of one database: what programs hold.

Owns: the joining of the parts. Must not know: HTTP, any one provider, what an outcome means in the books (a callback
does). Holds no state of its own; threads may share it.

The statements are drawn from the transition table in ``effects``. A claim is a lease with a fencing token: every
later statement names the token, so that a dispatcher whose lease was taken over changes nothing (rule 30).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence

from sqlalchemy import Connection, Engine

from tallystick.boundary.backoff import Backoff
from tallystick.boundary.effect_ledger.attempt import Attempt, OnOutcome, Recorded
from tallystick.boundary.effect_ledger.intents import Intents
from tallystick.boundary.effect_ledger.leases import Lease, Leases
from tallystick.boundary.effect_ledger.notices import Notice, Notices, Told
from tallystick.boundary.effect_ledger.outcomes import Outcomes
from tallystick.boundary.effect_ledger.register import UNSETTLED, Register
from tallystick.boundary.effect_ledger.rulings import Ruling, Rulings
from tallystick.boundary.effect_ledger.suspense import OnSuspense, Suspended, Suspense
from tallystick.boundary.effects import State
from tallystick.boundary.provider import Outcome, ProviderPolicy
from tallystick.clock import Clock, SystemClock


class EffectLedger:
    """Intents, attempts, outcomes, notices, rulings and suspense of one database."""

    def __init__(
        self,
        engine: Engine,
        *,
        key_secret: bytes | None = None,
        clock: Clock | None = None,
        on_suspense: OnSuspense | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """``key_secret`` keys the provider keys; without it the database's own, made by ``create_tables``.

        ``on_suspense`` books a success that must not exist. ``draw`` gives numbers in [0, 1) for the jitter of pauses.
        """
        self._clock = clock or SystemClock()
        self._engine = engine
        self._draw = draw
        self._intents = Intents(self._clock, key_secret=key_secret)
        self._leases = Leases(engine, self._clock)
        self._suspense = Suspense(engine, self._clock, on_suspense=on_suspense)
        self._outcomes = Outcomes(engine, self._clock, self._suspense, Backoff(draw=draw))
        self._notices = Notices(self._outcomes, self._suspense)
        self._rulings = Rulings(engine, self._clock, self._outcomes)
        self._register = Register(engine)

    @property
    def engine(self) -> Engine:
        """The database."""
        return self._engine

    # -- asking for an effect: in the caller's transaction, beside the rows that want it

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
        operation: str = "charge",
        subject: str | None = None,
    ) -> bool:
        """Insert the intent and its first attempt; False if it exists already, identically.

        ``request`` is the exact body to send, ``operation`` what the provider's adapter is asked to do with it;
        ``reference`` is the text in it under which the provider's listing finds the effect again, unique per intent.
        ``subject`` is whose personal data is in the request: its bytes and the answer's are sealed under that subject's
        key (``erasure``). An effect that moves no money has the amount 1 and the currency XXX, as ISO 4217 calls "no
        currency". Raises ``IntentConflict`` if the id exists with another content.
        """
        asked = {
            "intent_id": intent_id,
            "provider": provider,
            "operation": operation,
            "amount_minor": amount_minor,
            "currency": currency,
            "reference": reference,
        }
        return self._intents.create(connection, asked, request, subject)

    def add_attempt(
        self, connection: Connection, *, intent_id: str, request: bytes, reference: str | None = None
    ) -> int:
        """The next attempt, with a new key; returns its number.

        Only after the last one is DECLINED or ABSENT_CONFIRMED (rule 32): otherwise ``IllegalTransition``. A
        ``reference`` of its own lets a provider that tells no key say which attempt it means.
        """
        return self._intents.add_attempt(connection, intent_id=intent_id, request=request, reference=reference)

    # -- sending and resolving

    def claim(self, *, provider: str, owner: str, limit: int, lease_ms: int) -> tuple[Attempt, ...]:
        """Lease up to ``limit`` attempts that may be sent now, oldest first, under one new fencing token.

        Due are: new ones, ones whose claim ran out unsent, and unknown ones inside their provider's window. Attempts
        whose lease ran out after SENT become UNKNOWN here.
        """
        return self._leases.claim(Lease(provider, owner, limit, lease_ms))

    def mark_sent(self, attempts: Sequence[Attempt], *, policy: ProviderPolicy, lease_ms: int) -> tuple[Attempt, ...]:
        """Commit SENT, before the first byte leaves; returns those that may be sent, with their deadlines.

        Left out are attempts whose lease another dispatcher has taken, and re-sends that are past the window now.
        """
        return self._leases.mark_sent(attempts, policy=policy, lease_ms=lease_ms)

    def claim_unresolved(
        self, *, provider: str, owner: str, limit: int, lease_ms: int, quiet_ms: int
    ) -> tuple[Attempt, ...]:
        """Lease what may not be sent again: unknown attempts that were last sent at least ``quiet_ms`` ago, and those
        that wait for their customer and are due for a look."""
        return self._leases.claim_unresolved(Lease(provider, owner, limit, lease_ms), quiet_ms=quiet_ms)

    # -- recording

    def record(
        self, results: Iterable[tuple[Attempt, Outcome]], on_outcome: OnOutcome, *, retry_ms: int | None = None
    ) -> Recorded:
        """Record outcomes with their postings, all in one SQL transaction (rule 34).

        ``retry_ms`` is the longest pause before an unknown attempt is tried again; it doubles with each send, up to
        64 times, and the pause is drawn between 0 and it. A success for an attempt that is settled otherwise goes
        into suspense.
        """
        backoff = None if retry_ms is None else Backoff(base_ms=retry_ms, cap_ms=64 * retry_ms, draw=self._draw)
        return self._outcomes.record(results, on_outcome, backoff=backoff)

    def record_late_success(self, connection: Connection, attempt: Attempt, outcome: Outcome) -> bool:
        """Put a success that ``attempt`` cannot take into suspense (rule 35); False if it was there before."""
        return self._suspense.keep(connection, attempt, outcome)

    def tell(self, connection: Connection, notice: Notice, on_outcome: OnOutcome) -> Told:
        """Bring in what a webhook or a settlement says, in the caller's transaction; see ``Told``."""
        return self._notices.tell(connection, notice, on_outcome)

    def rule(self, ruling: Ruling, on_outcome: OnOutcome) -> Attempt:
        """Settle an attempt as a person decided; who, when and why stays in the database."""
        return self._rulings.rule(ruling, on_outcome)

    def close_suspense(
        self, connection: Connection, *, provider: str, provider_object_id: str, by: str, reason: str
    ) -> None:
        """Close an entry in suspense: it was refunded, or is kept on purpose."""
        self._suspense.close(connection, provider=provider, provider_object_id=provider_object_id, by=by, reason=reason)

    # -- reading

    def attempts(self, *, states: Iterable[State] | None = None, intent_id: str | None = None) -> tuple[Attempt, ...]:
        """Attempts in the given states (all of them if None), oldest first."""
        return self._register.attempts(states=states, intent_id=intent_id)

    def attempt(self, attempt_id: str) -> Attempt | None:
        """One attempt, if there is one of that id."""
        return self._register.attempt(attempt_id)

    def response(self, attempt_id: str) -> bytes | None:
        """The last answer of the provider about an attempt, as it came."""
        return self._register.response(attempt_id)

    def list_unknown(self) -> tuple[Attempt, ...]:
        """The register of unknown outcomes: value at risk until each is settled."""
        return self._register.attempts(states=UNSETTLED, intent_id=None)

    def count_by_state(self, *, provider: str | None = None) -> dict[State, int]:
        """Attempts by state; states without any are 0."""
        return self._register.count_by_state(provider=provider)

    def open_count(self, *, provider: str) -> int:
        """Attempts that a dispatcher still has work with: every open state but PENDING_ACTION."""
        return self._register.open_count(provider=provider)

    def known_objects(self, attempt: Attempt) -> frozenset[str]:
        """Provider objects already recorded for other attempts of the same intent, or in suspense."""
        return self._register.known_objects(attempt)

    def rulings(self, attempt_id: str) -> tuple[Ruling, ...]:
        """What people decided about an attempt, oldest first."""
        return self._rulings.of(attempt_id)

    def suspense(self, *, closed: bool = False) -> tuple[Suspended, ...]:
        """Successes that must not exist, each with its proposed refund; ``closed``: also those dealt with."""
        return self._suspense.entries(closed=closed)
