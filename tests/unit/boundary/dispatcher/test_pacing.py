"""Rate limits hold over any stretch of time, and a 429 pauses everybody."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies

from tallystick.boundary.backoff import Backoff
from tallystick.boundary.dispatcher.pacing import Pace, RateLimit
from tallystick.errors import ConfigurationError


@given(
    strategies.integers(1, 50),
    strategies.integers(1, 20),
    strategies.lists(strategies.tuples(strategies.integers(0, 500), strategies.integers(0, 30)), max_size=60),
)
def test_no_more_go_than_the_burst_and_the_rate_allow(per_s: int, burst: int, steps: list[tuple[int, int]]) -> None:
    pace, now_ms, taken = Pace.start(RateLimit(per_s, burst), 0), 0, 0
    for later_ms, wanted in steps:
        now_ms += later_ms
        pace = pace.at(now_ms)
        permitted = pace.permits(now_ms)
        assert permitted is not None
        count = min(wanted, permitted)
        pace = pace.take(count)
        taken += count
        assert taken * 1_000 <= burst * 1_000 + now_ms * per_s


def test_a_slow_rate_loses_no_fraction() -> None:
    pace = Pace.start(RateLimit(3, 1), 0).take(1)
    for now_ms in range(1, 335):
        pace = pace.at(now_ms)
        assert pace.permits(now_ms) == (1 if now_ms == 334 else 0)


def test_a_pause_outlasts_the_bucket_and_never_shrinks() -> None:
    pace = Pace.start(None, 0).pause(500).pause(100)
    assert pace.permits(499) == 0
    assert pace.permits(500) is None


@pytest.mark.parametrize(("per_s", "burst"), [(0, 1), (1, 0)])
def test_a_limit_that_sends_nothing_is_refused(per_s: int, burst: int) -> None:
    with pytest.raises(ConfigurationError):
        RateLimit(per_s, burst)


@given(strategies.integers(0, 1_000), strategies.floats(0, 1, exclude_max=True))
def test_a_pause_is_drawn_below_a_bound_that_doubles_and_ends(tries: int, drawn: float) -> None:
    backoff = Backoff(draw=lambda: drawn, base_ms=100, cap_ms=5_000)
    assert 0 <= backoff.delay_ms(tries) <= min(5_000, 100 * 2 ** min(tries, 10))
