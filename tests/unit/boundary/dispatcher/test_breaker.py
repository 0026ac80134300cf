"""The breaker opens, cools, probes and closes; every other transition raises."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, strategies

from tallystick.boundary.dispatcher.breaker import TRANSITIONS, Breaker, BreakerPolicy, Circuit, Signal
from tallystick.errors import ConfigurationError, IllegalTransition

POLICY = BreakerPolicy(failures=3, pause_ms=1_000)


def opened(*, at_ms: int = 0) -> Breaker:
    breaker = Breaker(POLICY)
    for _ in range(POLICY.failures):
        breaker = breaker.failed(at_ms)
    return breaker


def test_it_opens_after_failures_in_a_row_and_not_before() -> None:
    breaker = Breaker(POLICY).failed(0).failed(0)
    assert breaker.permits(5) is None
    assert breaker.answered().failed(0).failed(0).circuit is Circuit.CLOSED, "an answer between them begins anew"
    assert breaker.failed(0).permits(0) == 0


def test_after_the_pause_one_probe_may_go_and_decides() -> None:
    assert opened().at(999).permits(0) == 0
    half = opened().at(1_000)
    assert (half.permits(0), half.permits(1)) == (1, 0)
    assert half.answered().permits(5) is None
    again = half.failed(1_500)
    assert again.at(2_499).permits(0) == 0
    assert again.at(2_500).permits(0) == 1


def test_what_was_sent_before_it_opened_neither_closes_it_nor_makes_it_stay_open_longer() -> None:
    late = opened().answered().failed(900)
    assert late.circuit is Circuit.OPEN
    assert late.at(1_000).circuit is Circuit.HALF_OPEN


@pytest.mark.parametrize(("circuit", "signal"), set(itertools.product(Circuit, Signal)) - TRANSITIONS.keys())
def test_what_is_not_in_the_table_raises(circuit: Circuit, signal: Signal) -> None:
    with pytest.raises(IllegalTransition):
        Breaker(POLICY, circuit=circuit)._to(signal)


@given(strategies.lists(strategies.tuples(strategies.booleans(), strategies.integers(0, 3_000)), max_size=50))
def test_it_is_never_open_for_longer_than_its_pause(steps: list[tuple[bool, int]]) -> None:
    breaker, now_ms = Breaker(POLICY), 0
    for answered, later_ms in steps:
        now_ms += later_ms
        breaker = breaker.at(now_ms)
        breaker = breaker.answered() if answered else breaker.failed(now_ms)
    assert breaker.at(now_ms + POLICY.pause_ms).circuit is not Circuit.OPEN


def test_a_breaker_without_a_pause_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        BreakerPolicy(pause_ms=0)
