"""Faults as they are written on the command line, and the plan that a seed makes of them."""

from __future__ import annotations

import pytest

from tallystick.errors import ConfigurationError
from tallystick.verify.faults.catalog import FAULTS, chosen, explained
from tallystick.verify.faults.fault import Need
from tallystick.verify.faults.specs import FaultSpec, plan


@pytest.mark.parametrize(
    "text",
    ["kill-worker", "kill-worker@30", "kill-worker/2.5", "kill-at:cycle.before-commit", "lose-answer:end-txn/10"],
)
def test_a_spec_reads_back_as_it_was_written(text: str) -> None:
    assert str(FaultSpec.parse(text)) == text


@pytest.mark.parametrize("text", ["", "kill worker", "kill-worker@", "kill-worker/0", "kill-worker:"])
def test_a_text_that_is_no_spec_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        FaultSpec.parse(text)


def test_an_unknown_fault_is_refused_with_the_names_that_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"no fault 'kill-wurker'.*kill-worker"):
        chosen("kill-wurker", list(Need))


def test_an_unknown_argument_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"no 'cycle.lunch'.*cycle.before-commit"):
        chosen("kill-at:cycle.lunch", list(Need))


@pytest.mark.parametrize(
    ("text", "lacking"),
    [
        ("kill-broker", Need.OWN_BROKER),
        ("clock-jump", Need.EMBEDDED_BROKER),
        ("kill-database", Need.OWN_DATABASE),
        ("cut-network", Need.PROXY),
        ("kill-at", Need.KILL_POINTS),
        ("kill-at:inbox.after-sql-commit", Need.INBOX),
    ],
)
def test_a_fault_that_is_not_possible_here_is_refused_with_the_reason(text: str, lacking: Need) -> None:
    with pytest.raises(ConfigurationError, match="not possible here") as refused:
        chosen(text, [need for need in Need if need is not lacking])
    assert lacking.value in str(refused.value)


def test_all_means_every_fault_that_is_possible_here() -> None:
    assert {spec.name for spec in chosen("all", list(Need))} == set(FAULTS)
    assert "kill-broker" not in {spec.name for spec in chosen("all", [Need.PROXY])}
    assert chosen("none", list(Need)) == ()


def test_the_help_names_every_fault() -> None:
    assert all(f"{name}: " in explained() for name in FAULTS)


def test_a_plan_follows_its_seed_and_each_fault_has_its_turn_before_one_comes_twice() -> None:
    specs = [FaultSpec(name) for name in ("a", "b", "c")]
    strikes = plan(specs, seed=1, duration_s=100, every_s=5)
    assert strikes == plan(specs, seed=1, duration_s=100, every_s=5)
    assert strikes != plan(specs, seed=2, duration_s=100, every_s=5)
    names = [strike.name for strike in strikes]
    assert all(sorted(names[at : at + 3]) == ["a", "b", "c"] for at in range(0, len(names) - 3, 3))


def test_a_plan_keeps_moments_and_periods_and_leaves_the_end_alone() -> None:
    specs = [FaultSpec("a", at_s=7), FaultSpec("b", every_s=10), FaultSpec("c")]
    strikes = plan(specs, seed=1, duration_s=50, every_s=5)
    assert [strike.at_s for strike in strikes if strike.name == "a"] == [7]
    assert [strike.at_s for strike in strikes if strike.name == "b"] == [10, 20, 30, 40]
    assert max(strike.at_s for strike in strikes) <= 40
