"""What providers tell and people rule: notices, pending actions, rulings and suspense, on each database."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from sqlalchemy import Connection, Engine
from tests.support.boundary import POLICY, ScriptedProvider, create_intents, request_of, success

from tallystick.boundary import (
    Attempt,
    EffectDispatcher,
    EffectLedger,
    LookUp,
    Notice,
    Outcome,
    OutcomeKind,
    State,
    Told,
)
from tallystick.boundary.effect_ledger.rulings import Ruling
from tallystick.boundary.effect_ledger.suspense import BreakKind, Suspended
from tallystick.clock import ManualClock
from tallystick.errors import ConfigurationError

LEASE_MS = 4_000
UNKNOWN = Outcome(OutcomeKind.UNKNOWN)
ABSENT = LookUp((), complete=True)


@dataclass
class Books:
    told: list[State] = field(default_factory=list)
    suspended: list[tuple[BreakKind, int]] = field(default_factory=list)

    def __call__(self, connection: Connection, attempt: Attempt, outcome: Outcome) -> None:
        self.told.append(attempt.state)

    def on_suspense(self, connection: Connection, attempt: Attempt, entry: Suspended) -> None:
        self.suspended.append((entry.kind, entry.proposed_refund_minor))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start_ms=1_000_000)


@pytest.fixture
def books() -> Books:
    return Books()


@pytest.fixture
def ledger(engine: Engine, clock: ManualClock, books: Books) -> EffectLedger:
    made = EffectLedger(engine, clock=clock, on_suspense=books.on_suspense, draw=lambda: 1.0)
    create_intents(engine, made, 1)
    return made


def sent(ledger: EffectLedger) -> Attempt:
    claimed = ledger.claim(provider="stripe", owner="a", limit=10, lease_ms=LEASE_MS)
    (attempt,) = ledger.mark_sent(claimed, policy=POLICY, lease_ms=LEASE_MS)
    return attempt


def tell(
    ledger: EffectLedger, books: Books, outcome: Outcome, *, key: str | None = None, by: str | None = None
) -> Told:
    with ledger.engine.begin() as connection:
        return ledger.tell(connection, Notice("stripe", outcome, provider_key=key, reference=by), books)


def state(ledger: EffectLedger) -> State:
    return ledger.attempts()[-1].state


def absent(ledger: EffectLedger, clock: ManualClock, books: Books) -> Attempt:
    """The first attempt ends as absent, without an object of the provider."""
    attempt = sent(ledger)
    ledger.record([(attempt, replace(UNKNOWN, replayed_failure=True))], books)
    clock.advance(by_ms=POLICY.quiet_ms)
    provider = ScriptedProvider(lambda _: UNKNOWN, lambda _: ABSENT)
    EffectDispatcher(ledger, lambda: provider, books, lease_ms=LEASE_MS, clock=clock).run_once()
    assert state(ledger) is State.ABSENT_CONFIRMED
    return attempt


# -- notices


def test_a_notice_settles_an_attempt_whose_answer_is_still_awaited_and_the_answer_changes_nothing(
    ledger: EffectLedger, books: Books
) -> None:
    attempt = sent(ledger)
    assert tell(ledger, books, success(100), key=attempt.provider_key) is Told.SETTLED
    recorded = ledger.record([(attempt, success(100))], books)
    assert (recorded.fenced, recorded.suspended) == (1, 0)
    assert books.told == [State.SUCCEEDED]


@pytest.mark.parametrize("kind", [OutcomeKind.SUCCEEDED, OutcomeKind.DECLINED])
def test_a_notice_settles_an_unknown_attempt_once_however_often_it_comes(
    ledger: EffectLedger, books: Books, kind: OutcomeKind
) -> None:
    attempt = sent(ledger)
    ledger.record([(attempt, UNKNOWN)], books)
    outcome = replace(success(100), kind=kind)
    told = [tell(ledger, books, outcome, by=attempt.reference) for _ in range(3)]
    assert told == [Told.SETTLED, Told.REPEATED, Told.REPEATED]
    assert books.told == [State[kind.name]]


def test_notices_in_the_wrong_order_end_in_the_same_state(ledger: EffectLedger, books: Books) -> None:
    attempt = sent(ledger)
    pending = replace(success(100), kind=OutcomeKind.PENDING_ACTION)
    assert tell(ledger, books, success(100), key=attempt.provider_key) is Told.SETTLED
    assert tell(ledger, books, pending, key=attempt.provider_key) is Told.REPEATED
    assert state(ledger) is State.SUCCEEDED


def test_a_notice_about_nothing_of_ours_changes_nothing(ledger: EffectLedger, books: Books) -> None:
    assert tell(ledger, books, success(100, object_id="ch_other"), by="somebody else's") is Told.NOT_OURS
    assert state(ledger) is State.CREATED


def test_a_success_after_absence_was_confirmed_goes_into_suspense_with_a_refund_proposed(
    engine: Engine, ledger: EffectLedger, clock: ManualClock, books: Books
) -> None:
    attempt = absent(ledger, clock, books)
    for expected in (Told.SUSPENDED, Told.REPEATED):
        assert tell(ledger, books, success(100), key=attempt.provider_key) is expected
    (entry,) = ledger.suspense()
    assert (entry.kind, entry.proposed_refund_minor, entry.state) == (
        BreakKind.LATE_SUCCESS,
        100,
        State.ABSENT_CONFIRMED,
    )
    assert books.suspended == [(BreakKind.LATE_SUCCESS, 100)]
    with engine.begin() as connection:
        ledger.close_suspense(
            connection, provider="stripe", provider_object_id="ch_1", by="ann", reason="refunded as re_1"
        )
    assert ledger.suspense() == ()
    assert [each.closed_by for each in ledger.suspense(closed=True)] == ["ann"]


def test_a_decline_that_could_be_of_either_attempt_declines_none(
    engine: Engine, ledger: EffectLedger, clock: ManualClock, books: Books
) -> None:
    """Otherwise a third attempt could exist beside the second, which may succeed: two charges."""
    first = absent(ledger, clock, books)
    with engine.begin() as connection:
        ledger.add_attempt(connection, intent_id=first.intent_id, request=request_of(first.intent_id, 100))
    second = sent(ledger)
    ledger.record([(second, UNKNOWN)], books)
    declined = replace(success(100, object_id="ch_late"), kind=OutcomeKind.DECLINED)
    assert tell(ledger, books, declined, by=first.reference) is Told.LEFT_OPEN
    assert ledger.attempt(second.attempt_id) == replace(second, state=State.UNKNOWN)


def test_an_answer_that_is_another_charge_than_the_notice_told_of_is_not_lost(
    engine: Engine, ledger: EffectLedger, clock: ManualClock, books: Books
) -> None:
    """The late charge of the first attempt settles the second, by reference; the second's own answer comes then."""
    first = absent(ledger, clock, books)
    with engine.begin() as connection:
        ledger.add_attempt(connection, intent_id=first.intent_id, request=request_of(first.intent_id, 100))
    second = sent(ledger)
    assert tell(ledger, books, success(100, object_id="ch_late"), by=first.reference) is Told.SETTLED
    assert ledger.record([(second, success(100, object_id="ch_own"))], books).suspended == 1
    assert [(each.provider_object_id, each.kind) for each in ledger.suspense()] == [("ch_own", BreakKind.DUPLICATE)]


def test_a_charge_under_our_reference_that_we_never_sent_goes_into_suspense(ledger: EffectLedger, books: Books) -> None:
    (attempt,) = ledger.attempts()
    assert tell(ledger, books, success(100), by=attempt.reference) is Told.SUSPENDED
    assert state(ledger) is State.CREATED
    assert [entry.kind for entry in ledger.suspense()] == [BreakKind.UNSENT]


# -- the customer's action


def waiting(ledger: EffectLedger, books: Books) -> Attempt:
    attempt = sent(ledger)
    outcome = replace(success(100), kind=OutcomeKind.PENDING_ACTION, action_window_ms=60_000, look_again_ms=10_000)
    ledger.record([(attempt, outcome)], books)
    return attempt


def test_a_payment_that_waits_for_its_customer_is_looked_up_and_never_sent_again(
    ledger: EffectLedger, clock: ManualClock, books: Books
) -> None:
    waiting(ledger, books)
    looks = iter([OutcomeKind.PENDING_ACTION, OutcomeKind.PENDING_ACTION, OutcomeKind.SUCCEEDED])

    def listing(_request: object) -> LookUp:
        return LookUp((replace(success(100), kind=next(looks), look_again_ms=10_000),), complete=True)

    provider = ScriptedProvider(lambda _: UNKNOWN, listing)
    run = EffectDispatcher(ledger, lambda: provider, books, lease_ms=LEASE_MS, clock=clock)
    run.run_once()
    assert provider.looked_up == [], "not before it is time for a look"
    for _ in range(3):
        clock.advance(by_ms=10_000)
        run.run_once()
    assert (len(provider.looked_up), provider.sent, provider.cancelled) == (3, [], [])
    assert state(ledger) is State.SUCCEEDED
    assert books.told.count(State.PENDING_ACTION) == 1, "waiting is told once"


@pytest.mark.parametrize("kind", [OutcomeKind.DECLINED, OutcomeKind.SUCCEEDED])
def test_at_its_deadline_a_waiting_payment_is_cancelled_unless_the_customer_was_faster(
    ledger: EffectLedger, clock: ManualClock, books: Books, kind: OutcomeKind
) -> None:
    attempt = waiting(ledger, books)
    clock.advance(by_ms=60_000)
    provider = ScriptedProvider(lambda _: UNKNOWN, lambda _: ABSENT, ending=lambda _: replace(success(100), kind=kind))
    EffectDispatcher(ledger, lambda: provider, books, lease_ms=LEASE_MS, clock=clock).run_once()
    assert [request.provider_object_id for request in provider.cancelled] == ["ch_1"]
    assert [request.provider_key for request in provider.cancelled] == [attempt.provider_key]
    assert state(ledger) is State[kind.name]


@pytest.mark.parametrize("listing", [ABSENT, LookUp((), complete=False)], ids=["absent", "incomplete"])
def test_a_listing_that_misses_what_the_provider_told_of_confirms_nothing(
    ledger: EffectLedger, clock: ManualClock, books: Books, listing: LookUp
) -> None:
    waiting(ledger, books)
    clock.advance(by_ms=10_000)
    provider = ScriptedProvider(lambda _: UNKNOWN, lambda _: listing)
    EffectDispatcher(ledger, lambda: provider, books, lease_ms=LEASE_MS, clock=clock).run_once()
    (attempt,) = ledger.attempts()
    assert (attempt.state, attempt.provider_object_id) == (State.PENDING_ACTION, "ch_1")


def test_a_notice_settles_what_waits_for_its_customer(ledger: EffectLedger, books: Books) -> None:
    waiting(ledger, books)
    assert tell(ledger, books, success(100)) is Told.SETTLED
    assert books.told == [State.PENDING_ACTION, State.SUCCEEDED]


# -- rulings


def ruling(
    attempt: Attempt, to_state: State, *, reason: str = "the bank says so", object_id: str | None = None
) -> Ruling:
    return Ruling(attempt.attempt_id, attempt.state, to_state, object_id, "ann", reason, 0)


def test_a_person_settles_what_nobody_else_can_and_it_is_on_record(
    ledger: EffectLedger, clock: ManualClock, books: Books
) -> None:
    attempt = sent(ledger)
    ledger.record([(attempt, UNKNOWN)], books)
    clock.advance(by_ms=POLICY.window_ms)
    ledger.rule(ruling(attempt, State.ABSENT_CONFIRMED), books)
    assert books.told == [State.ABSENT_CONFIRMED]
    (kept,) = ledger.rulings(attempt.attempt_id)
    assert (kept.from_state, kept.to_state) == (State.UNKNOWN, State.ABSENT_CONFIRMED)
    assert (kept.ruled_by, kept.reason, kept.ruled_at_ms) == ("ann", "the bank says so", clock.now_ms())


@pytest.mark.parametrize("to_state", [State.ABSENT_CONFIRMED, State.DECLINED])
def test_nobody_rules_that_it_did_not_happen_while_it_may_be_sent_again(
    ledger: EffectLedger, books: Books, to_state: State
) -> None:
    attempt = sent(ledger)
    ledger.record([(attempt, UNKNOWN)], books)
    with pytest.raises(ConfigurationError, match="rule 32"):
        ledger.rule(ruling(attempt, to_state), books)
    ledger.rule(ruling(attempt, State.SUCCEEDED, object_id="ch_1"), books)
    assert books.told == [State.SUCCEEDED]


def test_what_is_in_flight_or_settled_cannot_be_ruled_about(ledger: EffectLedger, books: Books) -> None:
    attempt = sent(ledger)
    with pytest.raises(ConfigurationError, match="rule 29"):
        ledger.rule(ruling(attempt, State.SUCCEEDED, object_id="ch_1"), books)


@pytest.mark.parametrize(
    ("to_state", "reason", "object_id"),
    [
        (State.SUCCEEDED, "seen in the dashboard", None),
        (State.DECLINED, "seen in the dashboard", "ch_1"),
        (State.DECLINED, " ", None),
        (State.UNKNOWN, "no idea", None),
    ],
)
def test_a_ruling_without_its_grounds_is_refused_and_changes_nothing(
    ledger: EffectLedger, clock: ManualClock, books: Books, to_state: State, reason: str, object_id: str | None
) -> None:
    attempt = sent(ledger)
    ledger.record([(attempt, UNKNOWN)], books)
    clock.advance(by_ms=POLICY.window_ms)
    with pytest.raises(ConfigurationError):
        ledger.rule(ruling(attempt, to_state, reason=reason, object_id=object_id), books)
    assert state(ledger) is State.UNKNOWN
    assert ledger.rulings(attempt.attempt_id) == ()


def test_a_ruling_whose_posting_fails_is_undone_whole(ledger: EffectLedger, clock: ManualClock, books: Books) -> None:
    attempt = sent(ledger)
    ledger.record([(attempt, UNKNOWN)], books)
    clock.advance(by_ms=POLICY.window_ms)

    def closed(_connection: Connection, _attempt: Attempt, _outcome: Outcome) -> None:
        raise ValueError("the books are closed")

    with pytest.raises(ValueError, match="closed"):
        ledger.rule(ruling(attempt, State.DECLINED), closed)
    assert state(ledger) is State.UNKNOWN
    assert ledger.rulings(attempt.attempt_id) == ()
