"""Money is exact: what goes in comes out, and what would have to be rounded is refused."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.ledger.money import MAX_MINOR, Money, MoneyError

CURRENCIES = st.sampled_from(["USD", "JPY", "KWD", "CLF"])
MINOR = st.integers(min_value=-(10**15), max_value=10**15)


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("29.33", "USD", 2933),
        ("29.3", "USD", 2930),
        ("0.00", "USD", 0),
        ("-0.01", "USD", -1),
        ("+7", "USD", 700),
        ("7.000", "USD", 700),
        ("500", "JPY", 500),
        ("1.234", "KWD", 1234),
        ("1.2345", "CLF", 12345),
    ],
)
def test_plain_decimal_text_is_parsed_exactly(text: str, currency: str, minor: int) -> None:
    assert Money.parse(text, currency) == Money(minor, currency)


@pytest.mark.parametrize(
    "text", ["", ".5", "5.", "1e3", "NaN", "Infinity", "1,000.00", " 1", "1 ", "\u0661", "0x1", "--1", "1.00\n"]
)
def test_anything_but_a_plain_decimal_number_is_refused(text: str) -> None:
    with pytest.raises(MoneyError, match="not a plain decimal number"):
        Money.parse(text, "USD")


@pytest.mark.parametrize(("text", "currency"), [("1.005", "USD"), ("0.5", "JPY"), ("1.0001", "KWD")])
def test_more_decimals_than_the_currency_has_are_refused_and_not_rounded(text: str, currency: str) -> None:
    with pytest.raises(MoneyError, match="more decimals"):
        Money.parse(text, currency)


@pytest.mark.parametrize("value", [29.33, 29, True, None, Decimal(1)])
def test_only_text_is_parsed(value: Any) -> None:
    with pytest.raises(MoneyError, match="parsed from text"):
        Money.parse(value, "USD")


@pytest.mark.parametrize("value", [1.0, True, "1", None, Decimal(1)])
def test_minor_units_are_an_int_and_never_a_float(value: Any) -> None:
    with pytest.raises(MoneyError, match="are an int"):
        Money(value, "USD")


def test_floats_are_refused_where_a_decimal_is_expected() -> None:
    with pytest.raises(MoneyError, match="not float"):
        Money.rounded(0.1, "USD")  # type: ignore[arg-type]


def test_amounts_beyond_64_bits_are_refused() -> None:
    assert Money(MAX_MINOR, "USD").minor == MAX_MINOR
    with pytest.raises(MoneyError, match="64 bits"):
        Money(MAX_MINOR + 1, "USD")
    with pytest.raises(MoneyError, match="64 bits"):
        Money.parse("9" * 30, "USD")


def test_an_unknown_currency_is_refused() -> None:
    with pytest.raises(MoneyError, match="ISO 4217"):
        Money(1, "usd")


def test_two_currencies_neither_add_nor_compare() -> None:
    with pytest.raises(MoneyError, match="EUR"):
        Money(1, "USD") + Money(1, "EUR")
    with pytest.raises(MoneyError, match="EUR"):
        assert Money(1, "USD") < Money(1, "EUR")


@pytest.mark.parametrize(("amount", "minor"), [("0.005", 0), ("0.015", 2), ("0.025", 2), ("-0.015", -2), ("0.0251", 3)])
def test_rounding_is_half_to_even(amount: str, minor: int) -> None:
    assert Money.rounded(Decimal(amount), "USD") == Money(minor, "USD")


def test_money_prints_with_all_its_decimals() -> None:
    assert str(Money(123456700, "USD")) == "1,234,567.00 USD"
    assert str(Money(-5, "JPY")) == "-5 JPY"
    assert str(Money(0, "USD")) == "0.00 USD"


@given(MINOR, CURRENCIES)
def test_text_of_an_amount_parses_back_to_it(minor: int, currency: str) -> None:
    money = Money(minor, currency)
    assert Money.parse(str(money.major()), currency) == money


@given(MINOR, st.lists(st.integers(min_value=0, max_value=10**9), min_size=1, max_size=30).filter(any))
def test_allocated_parts_sum_exactly_and_are_within_one_unit_of_their_share(minor: int, weights: list[int]) -> None:
    money = Money(minor, "USD")
    parts = money.allocate(weights)
    assert Money.total(parts, "USD") == money
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part.minor * sum(weights) - minor * weight) < sum(weights)


def test_the_largest_remainder_gets_the_cent_that_is_left() -> None:
    assert [part.minor for part in Money(100, "USD").allocate([1, 1, 1])] == [34, 33, 33]
    assert [part.minor for part in Money(-100, "USD").allocate([1, 1, 1])] == [-34, -33, -33]
    assert [part.minor for part in Money(5, "USD").allocate([30, 70])] == [2, 3]
    assert [part.minor for part in Money(10, "USD").allocate([0, 1])] == [0, 10]


@pytest.mark.parametrize("weights", [[], [0, 0], [1, -1]])
def test_weights_that_split_nothing_are_refused(weights: list[int]) -> None:
    with pytest.raises(MoneyError, match="weights"):
        Money(1, "USD").allocate(weights)
