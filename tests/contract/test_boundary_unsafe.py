"""A provider without keys: what is sent is sent once, and looked up, on each database."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Engine
from tests.support.boundary import POLICY, ScriptedProvider, create_intents, success

from tallystick.boundary import (
    ChargeRequest,
    EffectDispatcher,
    EffectLedger,
    LookUp,
    Outcome,
    OutcomeKind,
    ProviderPolicy,
    State,
    Unsafe,
)
from tallystick.clock import ManualClock
from tallystick.errors import ConfigurationError
from tallystick.pipeline import Idempotent

UNSAFE = replace(POLICY, window_ms=0, margin_ms=0, quiet_ms=0, repetition=Unsafe("a letter is sent twice"))


def lost(_request: ChargeRequest) -> Outcome:
    return Outcome(OutcomeKind.UNKNOWN)


@pytest.mark.parametrize(("found", "state"), [((success(100),), State.SUCCEEDED), ((), State.ABSENT_CONFIRMED)])
def test_an_answer_that_is_lost_is_looked_up_and_never_sent_again(
    engine: Engine, found: tuple[Outcome, ...], state: State
) -> None:
    ledger = EffectLedger(engine)
    create_intents(engine, ledger, 1)
    provider = ScriptedProvider(lost, lambda _request: LookUp(found, complete=True), policy=UNSAFE)
    EffectDispatcher(ledger, lambda: provider, lambda *_: None).run_until_idle(timeout_s=20)
    assert len(provider.sent) == 1
    assert [attempt.state for attempt in ledger.attempts()] == [state]


def test_what_a_dispatcher_died_with_is_not_sent_again(engine: Engine) -> None:
    clock = ManualClock(start_ms=1_000_000)
    ledger = EffectLedger(engine, clock=clock)
    create_intents(engine, ledger, 1)
    lease_ms = 2 * UNSAFE.timeout_ms
    claimed = ledger.claim(provider="stripe", owner="dead", limit=1, lease_ms=lease_ms)
    (sent,) = ledger.mark_sent(claimed, policy=UNSAFE, lease_ms=lease_ms)
    assert sent.resend_until_ms == clock.now_ms() + UNSAFE.timeout_ms
    clock.advance(by_ms=lease_ms + 1)
    assert ledger.claim(provider="stripe", owner="next", limit=1, lease_ms=lease_ms) == ()
    found = ledger.claim_unresolved(provider="stripe", owner="next", limit=1, lease_ms=lease_ms, quiet_ms=0)
    assert [attempt.state for attempt in found] == [State.RESOLVING]


def test_a_policy_without_a_declaration_or_with_one_that_contradicts_is_refused() -> None:
    with pytest.raises(TypeError, match="repetition"):
        ProviderPolicy(  # type: ignore[call-arg]
            name="p", window_ms=10_000, margin_ms=2_000, timeout_ms=1_000, quiet_ms=0
        )
    with pytest.raises(ConfigurationError, match=r"does not say what becomes.*rule 31"):
        replace(POLICY, repetition=Idempotent.BY_INBOX)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"no window and no margin.*rule 31"):
        replace(POLICY, repetition=Unsafe("a letter is sent twice"))
    with pytest.raises(ConfigurationError, match="needs a reason"):
        replace(UNSAFE, repetition=Unsafe(" "))
