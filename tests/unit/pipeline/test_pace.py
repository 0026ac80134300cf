"""The controller between latency and throughput, against steps whose cost is known."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tallystick.errors import ConfigurationError
from tallystick.pipeline import App, Topic, WorkerConfig
from tallystick.pipeline.pace import Pace
from tallystick.pipeline.worker import plans


def run(pace: Pace, *, backlog: bool, fixed_ms: float, record_ms: float, batches: int = 40, rate: float = 1.0) -> Pace:
    """The pace after so many batches of a step that takes ``fixed_ms``, and ``record_ms`` for each record.

    Without ``backlog``, ``rate`` records come in each millisecond.
    """
    for _ in range(batches):
        records = pace.records if backlog else max(1, min(pace.records, int(rate * pace.wait_ms)))
        pace = pace.after(records=records, took_ms=int(fixed_ms + record_ms * records))
    return pace


def paced(goal_ms: int | None, most: int = 20_000) -> Pace:
    return Pace.begin(most_records=most, most_wait_ms=100, goal_ms=goal_ms)


def test_without_a_goal_nothing_ever_changes() -> None:
    pace = paced(None)
    assert (pace.records, pace.wait_ms) == (20_000, 100)
    assert run(pace, backlog=True, fixed_ms=1000, record_ms=10) == pace


@pytest.mark.parametrize("record_ms", [0.002, 0.01, 0.1, 1.0, 30.0])
def test_a_backlog_is_taken_in_the_largest_batches_that_end_in_time(record_ms: float) -> None:
    pace = run(paced(100), backlog=True, fixed_ms=5, record_ms=record_ms)
    took_ms = 5 + record_ms * pace.records
    assert took_ms <= 100
    assert pace.records == 20_000 or took_ms > 100 / 4


def test_a_trickle_is_committed_long_before_the_goal() -> None:
    pace = run(paced(50), backlog=False, fixed_ms=6, record_ms=0.01, rate=1.0)
    assert pace.wait_ms + 6 <= 50
    assert pace.wait_ms >= 10  # and not for each record


@given(st.integers(1, 10_000), st.floats(0, 1_000), st.floats(0, 100), st.integers(1, 100_000))
@example(324, 0.0, 23.25, 14)  # 7 of them take 162.75 ms
def test_whatever_a_step_costs_the_pace_keeps_its_bounds_and_settles(
    goal_ms: int, fixed_ms: float, record_ms: float, most: int
) -> None:
    pace = run(paced(goal_ms, most), backlog=True, fixed_ms=fixed_ms, record_ms=record_ms, batches=60)
    seen = {pace.records}
    for _ in range(6):
        pace = run(pace, backlog=True, fixed_ms=fixed_ms, record_ms=record_ms, batches=1)
        seen.add(pace.records)
        assert 1 <= pace.records <= most
        assert 1 <= pace.wait_ms <= 100
    assert len(seen) == 1  # it does not swing


def test_a_step_that_grows_slow_gets_smaller_batches_and_larger_ones_when_it_is_quick_again() -> None:
    quick = run(paced(100), backlog=True, fixed_ms=1, record_ms=0.01)
    slow = run(quick, backlog=True, fixed_ms=1, record_ms=1)
    again = run(slow, backlog=True, fixed_ms=1, record_ms=0.01)
    assert slow.records < 100
    assert min(again.records, quick.records) > 4_000


def test_a_goal_is_a_setting_with_bounds() -> None:
    app = App("shop")
    app.step(source=Topic("in", bytes), name="rate")(lambda _event, _context: None)
    (plan,) = plans(app, WorkerConfig(bootstrap="b:1", slot="s", latency_goal_ms=50))
    assert (plan.pace().goal_ms, plan.pace().records) == (50, 500)
    for goal_ms in (0, 600_001):
        with pytest.raises(ConfigurationError, match="latency_goal_ms"):
            plans(app, WorkerConfig(bootstrap="b:1", slot="s", latency_goal_ms=goal_ms))
