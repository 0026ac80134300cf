"""A line is a purchase to the cent, or it says why not."""

from __future__ import annotations

from datetime import date

import pytest

from tallystick.billing.purchases import MASTER_SOURCE, SAMPLE_SOURCE, Purchase, UnusableLine, parse_purchase
from tallystick.ledger.money import Money


def test_both_files_formats_are_read() -> None:
    purchase = Purchase("00004", date(1997, 1, 1), 2, Money(2933, "USD"))
    assert parse_purchase(" 00004 0001 19970101  2   29.33\r", source=SAMPLE_SOURCE) == purchase
    assert parse_purchase(" 00004 19970101  2   29.33", source=MASTER_SOURCE) == purchase


def test_nothing_bought_for_nothing_is_a_purchase() -> None:
    assert parse_purchase("00004 19970101 0 0.00", source=MASTER_SOURCE).amount == Money(0, "USD")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "0 fields, not 4"),
        ("00004 19970101 2", "3 fields, not 4"),
        ("customer_id date number_of_cds dollar_value", "customer 'customer_id' is no number"),
        ("00004 1997-01-01 2 1.00", "is not yyyymmdd"),
        ("00004 19970229 2 1.00", "day is out of range"),
        ("00004 00000101 2 1.00", "year 0"),
        ("00004 19970101 2.5 1.00", "quantity '2.5' is no whole number"),
        ("00004 19970101 -2 1.00", "quantity '-2' is no whole number"),
        ("00004 19970101 2 1.005", "more decimals than USD"),
        ("00004 19970101 2 1e3", "not a plain decimal number"),
        ("00004 19970101 2 nan", "not a plain decimal number"),
        ("00004 19970101 2 -1.00", "amount -1.00 is negative"),
        ("0\u0661 19970101 2 1.00", "is no number"),
        ("1" * 2000, "2000 characters"),
    ],
)
def test_an_unusable_line_says_why(line: str, reason: str) -> None:
    with pytest.raises(UnusableLine) as caught:
        parse_purchase(line, source=MASTER_SOURCE)
    assert reason in str(caught.value)


def test_an_unknown_source_is_refused() -> None:
    with pytest.raises(UnusableLine, match="unknown source 'other'"):
        parse_purchase("00004 19970101 2 1.00", source="other")
