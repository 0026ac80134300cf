"""Broker, coordinators, cycle and effects in one deterministic scheduler, judged by the checkers of verify.

``TALLYSTICK_SIMULATION_SEEDS`` runs more seeds, ``TALLYSTICK_SIMULATION_FIRST`` begins with another one. A failure
prints its seed: ``python -m tests.simulation.run --seed N`` repeats it, step for step.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import structlog
from tests.simulation.broker import SINKS
from tests.simulation.run import BROKEN, EVENTS, simulate

FIRST = int(os.environ.get("TALLYSTICK_SIMULATION_FIRST", "0"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("TALLYSTICK_SIMULATION_SEEDS", "60")))


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    """The broker reports what is done to it on purpose."""
    usual = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(wrapper_class=usual)


@pytest.mark.timeout(7200)
def test_nothing_is_lost_repeated_torn_or_charged_twice_whatever_the_seed_does() -> None:
    faults = 0
    for seed in SEEDS:
        found, simulation = simulate(seed)
        assert found == [], f"seed {seed}: " + "\n".join(found)
        assert simulation.report().right == EVENTS * len(SINKS)
        faults += simulation.network.counts.total()
    assert faults > 20 * len(SEEDS), "a run without faults shows nothing"


@pytest.mark.parametrize("broken", BROKEN)
def test_a_rule_that_is_taken_out_is_noticed(broken: str) -> None:
    found, _ = simulate(BROKEN[broken], broken=broken)
    assert found, f"{broken}: no checker objects any more; look for another seed with python -m tests.simulation.run"


def test_a_seed_decides_everything() -> None:
    first, again = simulate(3)[1], simulate(3)[1]
    assert first.steps == again.steps
    assert first.network.counts == again.network.counts
    assert [log.entries for log in first.broker.logs.values()] == [log.entries for log in again.broker.logs.values()]
