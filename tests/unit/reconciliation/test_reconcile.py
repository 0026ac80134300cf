"""Each control fails for its own reason, and one is enough."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from io import StringIO

import pytest
from rich.console import Console
from tests.unit.reconciliation.records import line, payment

from tallystick.errors import ConfigurationError
from tallystick.ledger.facts import UNKNOWN, Comparison, Equation, Evidence, Fact, Hold, Stage
from tallystick.reconciliation.reconcile import Reconciliation, reconcile
from tallystick.reconciliation.report import print_report

AS_OF = date(1998, 6, 30)
FACTS = (Fact("1", 1000, "USD"), Fact("2", 5, "USD"))
EVIDENCE = Evidence(
    stages=(Stage("one", FACTS), Stage("two", FACTS), Stage("sum", (Fact("x", 1005, "USD"),))),
    comparisons=(Comparison("one", "two", Hold.SET), Comparison("one", "sum", Hold.SUM)),
    equations=(Equation("lines", 2, 2),),
    payments=(payment("a"), payment("b", 5)),
    findings=(),
    counts=(("lines", 2),),
)
STATEMENT = (line("a"), line("b", 5, fee_minor=5))


def failed(result: Reconciliation) -> list[str]:
    assert (result.certificate.status == "FAILED") == any(not control.holds for control in result.controls)
    return [control.name.split(" (")[0] for control in result.controls if not control.holds]


def test_evidence_that_agrees_is_complete() -> None:
    result = reconcile(EVIDENCE, STATEMENT, as_of=AS_OF)
    assert failed(result) == []
    assert result.certificate.status == "COMPLETE"


def test_a_missing_fact_and_another_one_in_its_place_are_seen_although_count_and_sum_agree() -> None:
    swapped = Stage("two", (Fact("1", 1000, "USD"), Fact("3", 5, "USD")))
    evidence = replace(EVIDENCE, stages=(EVIDENCE.stages[0], swapped, EVIDENCE.stages[2]))
    assert failed(reconcile(evidence, STATEMENT, as_of=AS_OF)) == ["one = two"]


def test_a_cent_is_seen() -> None:
    evidence = replace(EVIDENCE, stages=(*EVIDENCE.stages[:2], Stage("sum", (Fact("x", 1004, "USD"),))))
    assert failed(reconcile(evidence, STATEMENT, as_of=AS_OF)) == ["one = sum"]


def test_the_same_number_in_another_currency_is_not_the_same() -> None:
    evidence = replace(EVIDENCE, stages=(*EVIDENCE.stages[:2], Stage("sum", (Fact("x", 1005, "EUR"),))))
    assert failed(reconcile(evidence, STATEMENT, as_of=AS_OF)) == ["one = sum"]


def test_an_equation_a_finding_and_a_payment_at_risk_fail_it() -> None:
    evidence = replace(
        EVIDENCE,
        equations=(Equation("lines", 2, 3),),
        findings=("invariant 1: over",),
        payments=(*EVIDENCE.payments, payment("c", status=UNKNOWN)),
    )
    result = reconcile(evidence, STATEMENT, as_of=AS_OF)
    assert failed(result) == ["lines", "no invariant of the books is violated", "no payment has an unknown outcome"]
    assert [one.reference for one in result.at_risk] == ["c"]


def test_a_charge_that_is_not_settled_fails_it() -> None:
    names = failed(reconcile(EVIDENCE, STATEMENT[:1], as_of=AS_OF))
    assert names == ["books: captures by the provider's id = settlement: charges"]


def test_a_comparison_without_evidence_is_an_error_and_not_a_pass() -> None:
    evidence = replace(EVIDENCE, comparisons=(Comparison("one", "three", Hold.SUM),))
    with pytest.raises(ConfigurationError, match="'three'"):
        reconcile(evidence, STATEMENT, as_of=AS_OF)


def test_two_stages_of_one_name_are_an_error() -> None:
    with pytest.raises(ConfigurationError, match="two stages"):
        reconcile(replace(EVIDENCE, stages=EVIDENCE.stages * 2), STATEMENT, as_of=AS_OF)


def test_the_report_shows_totals_what_failed_breaks_and_the_verdict() -> None:
    def shown(result: Reconciliation) -> str:
        console = Console(file=StringIO(), width=200)
        print_report(result, console)
        text = console.file
        assert isinstance(text, StringIO)
        return text.getvalue()

    good = shown(reconcile(EVIDENCE, STATEMENT, as_of=AS_OF))
    assert "10.05 USD" in good
    assert "No breaks." in good
    assert "COMPLETE as of 1998-06-30" in good
    bad = shown(reconcile(replace(EVIDENCE, equations=(Equation("lines", 2, 3),)), STATEMENT[:1], as_of=AS_OF))
    assert "expected 2" in bad
    assert "missing external" in bad
    assert "FAILED as of 1998-06-30" in bad
