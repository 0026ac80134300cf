"""How much a dispatcher sends: no more than its rate, nothing while the breaker is open, nobody after a 429."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest
from sqlalchemy import Connection, Engine
from tests.support.boundary import ScriptedProvider, create_intents, success

from tallystick.boundary import (
    Attempt,
    BreakerPolicy,
    ChargeRequest,
    EffectDispatcher,
    EffectLedger,
    LookUp,
    Outcome,
    OutcomeKind,
    State,
)
from tallystick.boundary.dispatcher.session import DispatchReport, Session
from tallystick.clock import ManualClock
from tallystick.errors import ConfigurationError

INTENTS = 20


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start_ms=1_000_000)


@pytest.fixture
def ledger(engine: Engine, clock: ManualClock) -> EffectLedger:
    made = EffectLedger(engine, clock=clock, draw=lambda: 1.0)
    create_intents(engine, made, INTENTS)
    return made


def nothing(_connection: Connection, _attempt: Attempt, _outcome: Outcome) -> None:
    return


def turns(
    ledger: EffectLedger,
    provider: ScriptedProvider,
    clock: ManualClock,
    waits_ms: Sequence[int],
    *,
    breaker: BreakerPolicy | None = None,
    rate_per_s: int | None = None,
    burst: int | None = None,
) -> list[int]:
    """How many were sent in each turn of one session, with the clock moved before each."""
    sent: list[int] = []

    async def work(session: Session) -> DispatchReport:
        for wait_ms in waits_ms:
            clock.advance(by_ms=wait_ms)
            before = len(provider.sent)
            report = await session.once()
            sent.append(len(provider.sent) - before)
        return report

    dispatcher = EffectDispatcher(
        ledger,
        lambda: provider,
        nothing,
        lease_ms=4_000,
        retry_ms=1,
        clock=clock,
        breaker=breaker,
        rate_per_s=rate_per_s,
        burst=burst,
    )
    asyncio.run(dispatcher.session(work))
    return sent


def answering() -> Callable[[ChargeRequest], Outcome]:
    def answer(request: ChargeRequest) -> Outcome:
        amount = int(request.body.split(b"amount=")[1].split(b"&")[0])
        return success(amount, object_id=f"ch_{amount}")

    return answer


def test_no_more_are_begun_than_the_rate_and_the_burst_allow(ledger: EffectLedger, clock: ManualClock) -> None:
    provider = ScriptedProvider(answering())
    assert turns(ledger, provider, clock, [0, 0, 500, 1_000, 10_000], rate_per_s=4, burst=5) == [5, 0, 2, 4, 5]
    assert ledger.count_by_state()[State.SUCCEEDED] == 16


def test_a_provider_that_only_fails_is_left_alone_and_then_probed(ledger: EffectLedger, clock: ManualClock) -> None:
    answer = answering()
    failing = [True]

    def flaky(request: ChargeRequest) -> Outcome:
        return Outcome(OutcomeKind.UNKNOWN) if failing[0] else answer(request)

    provider = ScriptedProvider(flaky, lambda _: LookUp((), complete=False))
    breaker = BreakerPolicy(failures=INTENTS, pause_ms=5_000)
    assert turns(ledger, provider, clock, [0, 4_999, 1], breaker=breaker) == [INTENTS, 0, 1]
    assert provider.looked_up == [], "nor is it asked for listings"
    failing[0] = False
    # A new session does not know of the old one's breaker: it begins closed.
    assert turns(ledger, provider, clock, [1_000], breaker=breaker) == [INTENTS]
    assert ledger.count_by_state()[State.SUCCEEDED] == INTENTS


def test_a_probe_that_is_answered_lets_everything_go_again(ledger: EffectLedger, clock: ManualClock) -> None:
    answer = answering()
    tries = iter(range(10**6))

    def flaky(request: ChargeRequest) -> Outcome:
        return Outcome(OutcomeKind.UNKNOWN) if next(tries) < INTENTS else answer(request)

    provider = ScriptedProvider(flaky)
    breaker = BreakerPolicy(failures=5, pause_ms=5_000)
    assert turns(ledger, provider, clock, [0, 5_000, 1_000], breaker=breaker) == [INTENTS, 1, INTENTS - 1]


def test_a_429_pauses_everybody_for_as_long_as_it_says(ledger: EffectLedger, clock: ManualClock) -> None:
    answer = answering()
    first = iter([Outcome(OutcomeKind.LATER, status=429, retry_after_ms=3_000)])

    def limited(request: ChargeRequest) -> Outcome:
        return next(first, None) or answer(request)

    provider = ScriptedProvider(limited)
    assert turns(ledger, provider, clock, [0, 2_999, 1], rate_per_s=10, burst=10) == [10, 0, 10]


def test_a_409_pauses_nobody_else(ledger: EffectLedger, clock: ManualClock) -> None:
    answer = answering()
    first = iter([Outcome(OutcomeKind.LATER, status=409)])

    def busy(request: ChargeRequest) -> Outcome:
        return next(first, None) or answer(request)

    provider = ScriptedProvider(busy)
    assert turns(ledger, provider, clock, [0, 1], rate_per_s=1_000, burst=10) == [10, 1]


def test_a_concurrency_below_one_is_refused(ledger: EffectLedger) -> None:
    with pytest.raises(ConfigurationError):
        EffectDispatcher(ledger, lambda: ScriptedProvider(answering()), nothing, concurrency=0)
