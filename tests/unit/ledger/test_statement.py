"""A settlement file is read exactly, or refused with the place."""

from __future__ import annotations

import pytest

from tallystick.errors import CorruptData
from tallystick.ledger.statement import COLUMNS, read_statement

HEADER = ",".join(COLUMNS)
GOOD = "txn_1,charge,1000,59,941,usd,ch_1,intent-1,1700000000"


def test_a_line_is_read_with_its_number_and_an_upper_case_currency() -> None:
    (line,) = read_statement([HEADER, GOOD], place="f")
    assert (line.line_number, line.id, line.type, line.currency) == (2, "txn_1", "charge", "USD")
    assert (line.amount_minor, line.fee_minor, line.net_minor) == (1000, 59, 941)
    assert (line.reference, line.intent_reference) == ("ch_1", "intent-1")


def test_columns_are_found_by_their_names() -> None:
    names = [*reversed(COLUMNS), "extra"]
    values = [*reversed(GOOD.split(",")), "x"]
    assert read_statement([",".join(names), ",".join(values)], place="f") == read_statement([HEADER, GOOD], place="f")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (GOOD.replace("1000,", "10.00,"), "amount_minor '10.00' is no integer at f:3"),
        (GOOD.replace("59", "")[:-1], "fee_minor '' is no integer at f:3"),
        (GOOD.replace("usd", "dollars"), "no ISO 4217 currency code known here at f:3"),
        (GOOD.replace("txn_1", ""), "without id or type at f:3"),
        (GOOD + ",more", "too few or too many fields at f:3"),
        ("txn_1,charge", "too few or too many fields at f:3"),
        ('"txn', "no CSV: unexpected end of data at f:3"),
    ],
)
def test_a_line_that_does_not_parse_is_refused_with_its_place(line: str, message: str) -> None:
    with pytest.raises(CorruptData) as caught:
        read_statement([HEADER, GOOD, line], place="f")
    assert message in str(caught.value)


def test_a_file_without_a_column_or_without_anything_is_refused() -> None:
    with pytest.raises(CorruptData, match="without column net_minor at f:1"):
        read_statement([HEADER.replace("net_minor", "net")], place="f")
    with pytest.raises(CorruptData, match="without column id"):
        read_statement([], place="f")


def test_the_same_movement_has_the_same_id_in_every_file_and_another_hash_when_it_changed() -> None:
    (one,) = read_statement([HEADER, GOOD], place="f")
    _, other = read_statement([HEADER, GOOD.replace("txn_1", "txn_0"), GOOD], place="g")
    (changed,) = read_statement([HEADER, GOOD.replace("941", "940")], place="h")
    assert one.record_id("stripe") == other.record_id("stripe") == changed.record_id("stripe")
    assert one.body_hash() == other.body_hash() != changed.body_hash()
    assert one.record_id("stripe") != one.record_id("adyen")
