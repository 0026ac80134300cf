"""Faults come by seed and rate, or by rule; a plan that makes no sense is refused where it is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tallystick.errors import ConfigurationError
from tallystick.sandbox.charge import fee_of
from tallystick.sandbox.faults import Fault, FaultPlan, Rule, parse_option, plan_from


def test_the_same_seed_gives_the_same_faults_in_any_order() -> None:
    rates = {Fault.SLOW: 0.2, Fault.RATE_LIMIT_429: 0.2}
    references = [f"r-{number}" for number in range(200)]
    one, two = FaultPlan(seed=5, rates=rates), FaultPlan(seed=5, rates=rates)
    forward = {reference: one.choose(reference, 1) for reference in references}
    backward = {reference: two.choose(reference, 1) for reference in reversed(references)}
    assert forward == backward
    other = FaultPlan(seed=6, rates=rates)
    assert forward != {reference: other.choose(reference, 1) for reference in references}


def test_rates_are_met_and_a_second_try_draws_anew() -> None:
    plan = FaultPlan(seed=1, rates={Fault.SLOW: 0.1, Fault.ERROR_500_STORED: 0.3})
    first = [plan.choose(f"r-{number}", 1) for number in range(4_000)]
    assert 300 < first.count(Fault.SLOW) < 500
    assert 1_050 < first.count(Fault.ERROR_500_STORED) < 1_350
    assert first != [plan.choose(f"r-{number}", 2) for number in range(4_000)]


def test_a_rule_goes_before_rates_and_is_used_up() -> None:
    plan = FaultPlan(rules=[Rule(Fault.SLOW, reference="a", times=2, skip=1)])
    assert [plan.choose("b", 1), *(plan.choose("a", number) for number in range(1, 5))] == [
        None,
        None,
        Fault.SLOW,
        Fault.SLOW,
        None,
    ]


def test_declines_stay_the_same_for_a_reference() -> None:
    plan = FaultPlan(seed=2, declines=0.5)
    assert [plan.declined("a"), plan.declined("a")] == [plan.declined("a")] * 2
    assert 350 < sum(plan.declined(f"r-{number}") for number in range(1_000)) < 650


def test_the_command_line_takes_pairs_or_a_file(tmp_path: Path) -> None:
    assert parse_option("slow=0.5,hang_ms=10", seed=3) == FaultPlan(seed=3, rates={Fault.SLOW: 0.5}, hang_ms=10)
    path = tmp_path / "faults.json"
    path.write_text(json.dumps({"rules": [{"fault": "slow", "times": 2}], "declines": 0.25}))
    assert parse_option(str(path), seed=3) == FaultPlan(seed=3, rules=[Rule(Fault.SLOW, times=2)], declines=0.25)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"typo": 0.1}, "typo: no fault"),
        ({"slow": "much"}, "slow: 'much' is no number"),
        ({"slow": -1}, "slow: -1 is negative"),
        ({"slow": 0.7, "rate_limit_429": 0.7}, "add up"),
        ({"rules": [{"fault": "slow"}, {"when": 1}]}, r"rules\[1\]"),
        ({"rules": [{"fault": "slow", "times": "x"}]}, r"rules\[0\]\.times"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_by_name(document: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        plan_from(document, seed=0)


def test_faults_that_are_neither_pairs_nor_a_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="neither"):
        parse_option(str(tmp_path / "absent.json"), seed=0)


@pytest.mark.parametrize(("amount", "fee"), [(1, 30), (17, 30), (18, 31), (1000, 59), (1999, 88), (50, 31), (51, 31)])
def test_the_fee_rounds_half_up_to_whole_minor_units(amount: int, fee: int) -> None:
    assert fee_of(amount) == fee
