"""What agrees is a match; what does not is a break with its type; nothing is left without a word."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.reconciliation.records import line, payment

from tallystick.ledger.facts import CAPTURED, DECLINED, OPEN, UNKNOWN, Payment
from tallystick.ledger.statement import StatementLine
from tallystick.reconciliation.engine import EXACT, match
from tallystick.reconciliation.model import BreakType

CASES: dict[str, tuple[list[Payment], list[StatementLine], BreakType, int]] = {
    "a capture that is not settled": ([payment("a")], [], BreakType.MISSING_EXTERNAL, 1000),
    "a settled charge that we do not know": ([], [line("a")], BreakType.MISSING_INTERNAL, 1000),
    "a cent more in the settlement": ([payment("a")], [line("a", 1001)], BreakType.AMOUNT, 1),
    "a cent less in the settlement": ([payment("a")], [line("a", 999)], BreakType.AMOUNT, 1),
    "another currency": ([payment("a")], [line("a", currency="EUR")], BreakType.CURRENCY, 1000),
    "a fee that we booked otherwise": ([payment("a", fee_minor=29)], [line("a")], BreakType.FEE, 1),
    "gross less fee is not net": ([payment("a")], [line("a", net_minor=971)], BreakType.FEE, 1),
    "settled and declined in our books": ([payment("a", status=DECLINED)], [line("a")], BreakType.STATUS, 1000),
    "settled and open in our books": ([payment("a", status=OPEN)], [line("a")], BreakType.STATUS, 1000),
    "settled and unknown in our books": ([payment("a", status=UNKNOWN)], [line("a")], BreakType.STATUS, 1000),
    "one charge settled twice": ([payment("a")], [line("a"), line("a", line_id="t2")], BreakType.DUPLICATE, 2000),
    "one charge captured twice": (
        [payment("a"), payment("b", charge="ch_a")],
        [line("a")],
        BreakType.DUPLICATE,
        2000,
    ),
    "a movement of a type without a rule": ([], [line("a", kind="dispute")], BreakType.MISSING_INTERNAL, 1000),
}


@pytest.mark.parametrize("name", CASES)
def test_a_disagreement_is_one_break_with_its_type_and_value(name: str) -> None:
    payments, lines, kind, value_minor = CASES[name]
    result = match(payments, lines)
    assert [(one.type, one.value_minor) for one in result.breaks] == [(kind, value_minor)]
    assert result.matches == ()


def test_a_second_charge_for_one_intent_is_a_duplicate_and_the_first_still_matches() -> None:
    result = match([payment("a")], [line("a"), line("other", intent="a")])
    assert [one.external for one in result.matches] == ["txn_a"]
    assert [(one.type, one.members) for one in result.breaks] == [(BreakType.DUPLICATE, ("txn_other", "a"))]


def test_the_same_id_and_amount_match_by_the_exact_rule() -> None:
    result = match([payment("a"), payment("b", 5)], [line("b", 5, fee_minor=5), line("a")])
    assert {(one.rule, one.internal, one.external, one.amount_minor) for one in result.matches} == {
        (EXACT, "a", "txn_a", 1000),
        (EXACT, "b", "txn_b", 5),
    }
    assert result.breaks == ()


@pytest.mark.parametrize("status", [DECLINED, OPEN, UNKNOWN])
def test_a_payment_that_is_not_captured_and_not_settled_is_no_break(status: str) -> None:
    result = match([payment("a", status=status)], [])
    assert (result.matches, result.breaks) == ((), ())


def test_a_payout_is_excluded_with_its_reason() -> None:
    result = match([], [line("p", -970, fee_minor=0, kind="payout")])
    assert [(one.external, one.reason.split(":")[0]) for one in result.exclusions] == [("txn_p", "a payout")]
    assert result.breaks == ()


@st.composite
def both_sides(draw: st.DrawFn) -> tuple[list[Payment], list[StatementLine]]:
    amounts = st.integers(min_value=1, max_value=3)
    names = st.sampled_from("abcdef")
    statuses = st.sampled_from([CAPTURED, CAPTURED, DECLINED, OPEN, UNKNOWN])
    payments = [
        payment(name, draw(amounts), status=draw(statuses)) for name in draw(st.lists(names, unique=True, max_size=6))
    ]
    lines = [
        line(
            draw(names),
            draw(amounts),
            fee_minor=draw(st.sampled_from([0, 1])),
            kind=draw(st.sampled_from(["charge", "charge", "payout", "dispute"])),
            line_id=f"txn_{number}",
            intent=draw(names),
        )
        for number in range(draw(st.integers(min_value=0, max_value=8)))
    ]
    return payments, lines


def explained(lines: Sequence[StatementLine], payments: Sequence[Payment]) -> Counter[str]:
    result = match(payments, lines)
    counted = Counter([one.external for one in result.matches] + [one.external for one in result.exclusions])
    counted.update(member for one in result.breaks for member in one.members if member.startswith("txn_"))
    return counted


@given(both_sides())
def test_every_external_line_is_explained_exactly_once(sides: tuple[list[Payment], list[StatementLine]]) -> None:
    payments, lines = sides
    assert explained(lines, payments) == Counter(one.id for one in lines)


@given(both_sides(), st.randoms(use_true_random=False))
def test_the_result_does_not_depend_on_the_order_of_the_records(
    sides: tuple[list[Payment], list[StatementLine]], shuffle: random.Random
) -> None:
    payments, lines = sides
    result = match(payments, lines)
    shuffle.shuffle(payments)
    shuffle.shuffle(lines)
    assert match(payments, lines) == result


@given(both_sides())
def test_every_capture_is_matched_or_in_a_break(sides: tuple[list[Payment], list[StatementLine]]) -> None:
    payments, lines = sides
    result = match(payments, lines)
    told = {one.internal for one in result.matches} | {member for one in result.breaks for member in one.members}
    assert {one.reference for one in payments if one.status == CAPTURED} <= told
