"""The effect ledger and its dispatcher keep rules 29 to 36, on each database."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError
from tests.support.boundary import POLICY, ScriptedProvider, create_intents, keys, request_of, success

from tallystick.boundary import (
    Attempt,
    ChargeRequest,
    EffectDispatcher,
    EffectLedger,
    IntentConflict,
    KeyReuseError,
    LookUp,
    LookUpRequest,
    Outcome,
    OutcomeKind,
    ProviderMismatch,
    State,
    open_database,
)
from tallystick.clock import ManualClock
from tallystick.errors import ConfigurationError, IllegalTransition

LEASE_MS = 4_000
UNKNOWN = Outcome(OutcomeKind.UNKNOWN)


@dataclass
class Books:
    """The callback: what it was told, and a row for each in the same transaction."""

    told: list[tuple[State, str]] = field(default_factory=list)

    def __call__(self, connection: Connection, attempt: Attempt, outcome: Outcome) -> None:
        self.told.append((attempt.state, attempt.intent_id))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start_ms=1_000_000)


@pytest.fixture
def ledger(engine: Engine, clock: ManualClock) -> EffectLedger:
    return EffectLedger(engine, clock=clock, draw=lambda: 1.0)


@pytest.fixture
def books() -> Books:
    return Books()


def dispatcher(ledger: EffectLedger, provider: ScriptedProvider, books: Books, clock: ManualClock) -> EffectDispatcher:
    return EffectDispatcher(ledger, lambda: provider, books, lease_ms=LEASE_MS, retry_ms=100, clock=clock)


def sent(ledger: EffectLedger, *, limit: int = 10) -> tuple[Attempt, ...]:
    claimed = ledger.claim(provider="stripe", owner="a", limit=limit, lease_ms=LEASE_MS)
    return ledger.mark_sent(claimed, policy=POLICY, lease_ms=LEASE_MS)


def answering(amount_minor: int) -> ScriptedProvider:
    return ScriptedProvider(lambda _request: success(amount_minor))


# -- intents


def test_an_intent_is_created_once_and_another_content_is_a_conflict(engine: Engine, ledger: EffectLedger) -> None:
    (intent_id,) = create_intents(engine, ledger, 1)
    arguments = {"intent_id": intent_id, "provider": "stripe", "currency": "USD", "reference": intent_id}
    with engine.begin() as connection:
        again = ledger.create_intent(connection, amount_minor=100, request=request_of(intent_id, 100), **arguments)
        assert not again
        with pytest.raises(IntentConflict, match="amount_minor is 100, now asked 101"):
            ledger.create_intent(connection, amount_minor=101, request=request_of(intent_id, 100), **arguments)
    assert len(ledger.attempts()) == 1


def test_the_row_with_bytes_key_and_window_is_committed_before_the_first_byte(
    engine: Engine, ledger: EffectLedger, books: Books, clock: ManualClock
) -> None:
    (intent_id,) = create_intents(engine, ledger, 1)
    seen: list[tuple[object, ...]] = []

    def look(request: ChargeRequest) -> Outcome:
        query = "SELECT state, provider_key, request, first_sent_at_ms, window_ms FROM tallystick_effect_attempt"
        with engine.connect() as other:
            seen.extend(tuple(row) for row in other.execute(text(query)))
        return success(100)

    provider = ScriptedProvider(look)
    dispatcher(ledger, provider, books, clock).run_once()
    (request,) = provider.sent
    assert seen == [("SENT", request.provider_key, request_of(intent_id, 100), clock.now_ms(), POLICY.window_ms)]


def test_a_provider_key_cannot_be_computed_without_the_secret(engine: Engine, clock: ManualClock) -> None:
    one, two = EffectLedger(engine, key_secret=b"1" * 32, clock=clock), EffectLedger(engine, key_secret=b"2" * 32)
    create_intents(engine, one, 1)
    create_intents(engine, two, 1, first=1)
    create_intents(engine, EffectLedger(engine), 2, first=2)
    found = {attempt.provider_key for attempt in one.attempts()}
    assert len(found) == 4
    assert all(len(key) == 64 for key in found)


def test_a_short_secret_is_refused(engine: Engine) -> None:
    with pytest.raises(ConfigurationError, match="rule 36"):
        EffectLedger(engine, key_secret=b"short")


def test_a_second_open_attempt_is_refused_by_the_database_itself(engine: Engine, ledger: EffectLedger) -> None:
    (intent_id,) = create_intents(engine, ledger, 1)
    with engine.connect() as connection:
        asked = dict(ledger._intents.row(connection, intent_id))
    with pytest.raises(IntegrityError), engine.begin() as connection:
        ledger._intents.insert_attempt(connection, asked, number=2, request=b"x", key=None)


@pytest.mark.parametrize("kind", [OutcomeKind.UNKNOWN, OutcomeKind.SUCCEEDED, OutcomeKind.PENDING_ACTION])
def test_no_next_attempt_while_money_may_have_moved(engine: Engine, ledger: EffectLedger, kind: OutcomeKind) -> None:
    (intent_id,) = create_intents(engine, ledger, 1)
    (attempt,) = sent(ledger)
    ledger.record([(attempt, replace(success(100), kind=kind))], Books())
    with pytest.raises(IllegalTransition), engine.begin() as connection:
        ledger.add_attempt(connection, intent_id=intent_id, request=b"x")


def test_after_a_decline_the_next_attempt_has_a_new_key(engine: Engine, ledger: EffectLedger) -> None:
    (intent_id,) = create_intents(engine, ledger, 1)
    (attempt,) = sent(ledger)
    ledger.record([(attempt, Outcome(OutcomeKind.DECLINED, provider_object_id="ch_0", code="card_declined"))], Books())
    with engine.begin() as connection:
        assert ledger.add_attempt(connection, intent_id=intent_id, request=b"x") == 2
    first, second = sorted(ledger.attempts(), key=lambda a: a.attempt_number)
    assert first.provider_key != second.provider_key
    assert (first.state, second.state) == (State.DECLINED, State.CREATED)


# -- leases


def test_a_claimed_attempt_is_claimed_by_nobody_else_until_the_lease_ends(
    engine: Engine, ledger: EffectLedger, clock: ManualClock
) -> None:
    create_intents(engine, ledger, 1)
    (first,) = ledger.claim(provider="stripe", owner="a", limit=10, lease_ms=LEASE_MS)
    assert ledger.claim(provider="stripe", owner="b", limit=10, lease_ms=LEASE_MS) == ()
    clock.advance(by_ms=LEASE_MS)
    (second,) = ledger.claim(provider="stripe", owner="b", limit=10, lease_ms=LEASE_MS)
    assert second.fencing_token > first.fencing_token
    assert ledger.mark_sent([first], policy=POLICY, lease_ms=LEASE_MS) == ()
    assert len(ledger.mark_sent([second], policy=POLICY, lease_ms=LEASE_MS)) == 1


def test_a_lease_that_ends_after_sent_leaves_unknown_and_the_old_answer_changes_nothing(
    engine: Engine, ledger: EffectLedger, books: Books, clock: ManualClock
) -> None:
    create_intents(engine, ledger, 1)
    (old,) = sent(ledger)
    clock.advance(by_ms=LEASE_MS)
    (new,) = sent(ledger)
    assert (new.provider_key, new.request, new.times_sent) == (old.provider_key, old.request, 2)
    assert ledger.record([(old, success(100))], books).fenced == 1
    assert books.told == []
    ledger.record([(new, success(100))], books)
    assert [state for state, _ in books.told] == [State.SUCCEEDED]


def test_two_dispatchers_at_once_send_each_attempt_once(database_url: str, engine: Engine, books: Books) -> None:
    ledgers = [EffectLedger(engine), EffectLedger(open_database(database_url))]
    ids = create_intents(engine, ledgers[0], 150)
    amounts = {request_of(intent_id, 100 + number): 100 + number for number, intent_id in enumerate(ids)}

    def answer(request: ChargeRequest) -> Outcome:
        return success(amounts[request.body], object_id=f"ch_{amounts[request.body]}")

    providers = [ScriptedProvider(answer), ScriptedProvider(answer)]
    dispatchers = [
        EffectDispatcher(ledger, lambda provider=provider: provider, books, concurrency=8, lease_ms=60_000)  # type: ignore[misc]
        for ledger, provider in zip(ledgers, providers, strict=True)
    ]
    threads = [threading.Thread(target=each.run_until_idle) for each in dispatchers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledgers[1]._register._engine.dispose()
    posted = keys(providers[0].sent) + keys(providers[1].sent)
    assert len(posted) == len(set(posted)) == 150
    assert all(provider.sent for provider in providers), "one of them did everything: nothing was tested"
    assert sorted(intent_id for _, intent_id in books.told) == sorted(ids)


def test_a_lease_shorter_than_two_timeouts_is_refused(ledger: EffectLedger, books: Books) -> None:
    with pytest.raises(ConfigurationError, match="rule 30"):
        EffectDispatcher(ledger, lambda: answering(1), books, lease_ms=1_999).run_once()


# -- outcomes


def test_outcome_and_posting_are_one_transaction(engine: Engine, ledger: EffectLedger, clock: ManualClock) -> None:
    create_intents(engine, ledger, 1)

    def failing(connection: Connection, attempt: Attempt, outcome: Outcome) -> None:
        connection.execute(text("INSERT INTO tallystick_owner_epoch VALUES ('posting', 1)"))
        raise ValueError("the books are closed")

    with pytest.raises(ValueError, match="the books are closed"):
        EffectDispatcher(ledger, lambda: answering(100), failing, lease_ms=LEASE_MS, clock=clock).run_once()
    (attempt,) = ledger.attempts()
    assert attempt.state is State.SENT
    with engine.begin() as connection:
        query = text("SELECT count(*) FROM tallystick_owner_epoch WHERE owner_key = 'posting'")
        assert connection.execute(query).scalar_one() == 0


def test_captured_stays_within_the_intent(engine: Engine, ledger: EffectLedger) -> None:
    create_intents(engine, ledger, 1)
    (attempt,) = sent(ledger)
    with pytest.raises(ProviderMismatch, match="asked for"):
        ledger.record([(attempt, success(101))], Books())
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(text("UPDATE tallystick_effect_intent SET captured_minor = 101"))


def test_one_provider_object_cannot_settle_two_attempts(engine: Engine, ledger: EffectLedger) -> None:
    create_intents(engine, ledger, 2)
    one, two = sorted(sent(ledger), key=lambda attempt: attempt.amount_minor)
    ledger.record([(one, success(100, object_id="ch_x"))], Books())
    with pytest.raises(IntegrityError):
        ledger.record([(two, success(101, object_id="ch_x"))], Books())


@pytest.mark.parametrize(
    "kind", [OutcomeKind.SUCCEEDED, OutcomeKind.DECLINED, OutcomeKind.PENDING_ACTION, OutcomeKind.UNKNOWN]
)
def test_the_callback_is_told_everything_but_unknown(
    engine: Engine, ledger: EffectLedger, books: Books, clock: ManualClock, kind: OutcomeKind
) -> None:
    (intent_id,) = create_intents(engine, ledger, 1)
    provider = ScriptedProvider(lambda _request: replace(success(100), kind=kind))
    dispatcher(ledger, provider, books, clock).run_once()
    expected = State[kind.name]
    assert [attempt.state for attempt in ledger.attempts()] == [expected]
    assert books.told == ([] if kind is OutcomeKind.UNKNOWN else [(expected, intent_id)])


# -- sending again, and no longer


@pytest.mark.parametrize("kind", [OutcomeKind.UNKNOWN, OutcomeKind.LATER])
def test_unknown_is_sent_again_with_the_same_bytes_and_key(
    engine: Engine, ledger: EffectLedger, books: Books, clock: ManualClock, kind: OutcomeKind
) -> None:
    create_intents(engine, ledger, 1)
    answers = iter([Outcome(kind), success(100)])
    provider = ScriptedProvider(lambda _request: next(answers))
    run = dispatcher(ledger, provider, books, clock)
    run.run_once()
    run.run_once()
    assert len(provider.sent) == 1, "not before the pause is over"
    clock.advance(by_ms=100)
    run.run_once()
    assert len(provider.sent) == 2
    assert provider.sent[0] == provider.sent[1]
    assert [state for state, _ in books.told] == [State.SUCCEEDED]


def test_past_the_window_nothing_is_sent_only_looked_up(
    engine: Engine, ledger: EffectLedger, books: Books, clock: ManualClock
) -> None:
    (intent_id,) = create_intents(engine, ledger, 1)
    provider = ScriptedProvider(lambda _request: UNKNOWN, lambda _request: LookUp((success(100),), complete=True))
    run = dispatcher(ledger, provider, books, clock)
    run.run_once()
    started_ms = clock.now_ms()
    clock.advance(by_ms=POLICY.window_ms - POLICY.margin_ms)
    run.run_once()
    assert len(provider.sent) == 1
    assert provider.looked_up == [LookUpRequest(intent_id, started_ms, until_ms=started_ms)]
    assert books.told == [(State.SUCCEEDED, intent_id)]


def test_a_process_that_stood_still_past_the_window_does_not_send(
    engine: Engine, ledger: EffectLedger, books: Books, clock: ManualClock
) -> None:
    create_intents(engine, ledger, 1)

    class Stalling(EffectLedger):
        def mark_sent(self, *args: object, **kwargs: object) -> tuple[Attempt, ...]:
            marked = super().mark_sent(*args, **kwargs)  # type: ignore[arg-type]
            clock.advance(by_ms=POLICY.window_ms)
            return marked

    provider = answering(100)
    dispatcher(Stalling(engine, clock=clock), provider, books, clock).run_once()
    assert provider.sent == []
    assert [attempt.state for attempt in ledger.attempts()] == [State.UNKNOWN]


def test_a_replayed_500_is_looked_up_after_the_quiet_time_and_absent_lets_the_next_attempt_exist(
    engine: Engine, ledger: EffectLedger, books: Books, clock: ManualClock
) -> None:
    (intent_id,) = create_intents(engine, ledger, 1)
    provider = ScriptedProvider(lambda _request: Outcome(OutcomeKind.UNKNOWN, status=500, replayed_failure=True))
    run = dispatcher(ledger, provider, books, clock)
    run.run_once()
    clock.advance(by_ms=POLICY.quiet_ms - 1)
    run.run_once()
    assert provider.looked_up == []
    clock.advance(by_ms=1)
    run.run_once()
    assert len(provider.sent) == 1
    assert books.told == [(State.ABSENT_CONFIRMED, intent_id)]
    with engine.begin() as connection:
        assert ledger.add_attempt(connection, intent_id=intent_id, request=b"x") == 2


def test_an_incomplete_listing_confirms_nothing(
    engine: Engine, ledger: EffectLedger, books: Books, clock: ManualClock
) -> None:
    create_intents(engine, ledger, 1)
    provider = ScriptedProvider(lambda _request: UNKNOWN, lambda _request: LookUp((), complete=False))
    run = dispatcher(ledger, provider, books, clock)
    run.run_once()
    clock.advance(by_ms=POLICY.window_ms)
    run.run_once()
    assert provider.looked_up
    assert books.told == []
    assert [attempt.state for attempt in ledger.list_unknown()] == [State.UNKNOWN]


def test_a_second_success_in_the_listing_goes_into_suspense(
    engine: Engine, ledger: EffectLedger, books: Books, clock: ManualClock
) -> None:
    create_intents(engine, ledger, 1)
    listing = LookUp((success(100, object_id="ch_newer"), success(100, object_id="ch_older")), complete=True)
    run = dispatcher(ledger, ScriptedProvider(lambda _request: UNKNOWN, lambda _request: listing), books, clock)
    run.run_once()
    clock.advance(by_ms=POLICY.window_ms)
    run.run_once()
    assert [attempt.provider_object_id for attempt in ledger.attempts()] == ["ch_older"]
    with engine.begin() as connection:
        rows = connection.execute(text("SELECT provider_object_id, amount_minor FROM tallystick_effect_suspense")).all()
    assert [tuple(row) for row in rows] == [("ch_newer", 100)]


def test_a_key_seen_with_other_parameters_stops_everything(
    engine: Engine, ledger: EffectLedger, books: Books, clock: ManualClock
) -> None:
    create_intents(engine, ledger, 2)

    def answer(request: ChargeRequest) -> Outcome:
        if b"amount=100" in request.body:
            raise KeyReuseError("other parameters")
        return success(101)

    with pytest.raises(KeyReuseError):
        dispatcher(ledger, ScriptedProvider(answer), books, clock).run_once()
    assert ledger.count_by_state()[State.SUCCEEDED] == 1, "the answer that came with it is recorded"
    assert ledger.count_by_state()[State.SENT] == 1
