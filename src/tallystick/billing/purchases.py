"""One line of the CDNOW purchase history, parsed and judged.

Owns: the two line formats and what makes a line billable. Must not know: topics, rating.

The data set (Fader and Hardie) has a master file with customer, date, number of CDs and dollars, under a header, and
a sample of a tenth of the customers with a second customer number after the first. Lines are identical now and then:
those are purchases that were made twice, and both are billed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Final

from tallystick.ledger.money import Money, MoneyError

CURRENCY: Final = "USD"
SAMPLE_SOURCE: Final = "CDNOW_sample.txt"
MASTER_SOURCE: Final = "CDNOW_master.txt"
FIRST_DATA_LINE: Final = {SAMPLE_SOURCE: 1, MASTER_SOURCE: 2}
"""Line number (from 1) of the first purchase: the master file begins with a header."""

_FIELDS: Final = {
    SAMPLE_SOURCE: ("customer", "sample_customer", "date", "quantity", "amount"),
    MASTER_SOURCE: ("customer", "date", "quantity", "amount"),
}
_MAX_LINE: Final = 1_000
_CUSTOMER: Final = re.compile(r"[0-9]{1,10}")
_DATE: Final = re.compile(r"[0-9]{8}")
_QUANTITY: Final = re.compile(r"[0-9]{1,9}")


class UnusableLine(ValueError):
    """A line that cannot be billed; the message is the reason that goes into quarantine."""


@dataclass(frozen=True, slots=True)
class Purchase:
    """A billable line. ``quantity`` is the number of CDs."""

    customer: str
    made_on: date
    quantity: int
    amount: Money


def parse_purchase(line: str, *, source: str) -> Purchase:
    """The purchase in ``line``; ``UnusableLine`` says what is wrong with it."""
    names = _FIELDS.get(source)
    if names is None:
        raise UnusableLine(f"unknown source {source!r}")
    if len(line) > _MAX_LINE:
        raise UnusableLine(f"the line has {len(line)} characters, more than {_MAX_LINE}")
    values = line.split()
    if len(values) != len(names):
        raise UnusableLine(f"{len(values)} fields, not {len(names)}")
    field = dict(zip(names, values, strict=True))
    if not _CUSTOMER.fullmatch(field["customer"]):
        raise UnusableLine(f"customer {field['customer']!r} is no number")
    if not _QUANTITY.fullmatch(field["quantity"]):
        raise UnusableLine(f"quantity {field['quantity']!r} is no whole number")
    return Purchase(field["customer"], _day(field["date"]), int(field["quantity"]), _amount(field["amount"]))


def _day(text: str) -> date:
    if not _DATE.fullmatch(text):
        raise UnusableLine(f"date {text!r} is not yyyymmdd")
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError as error:
        raise UnusableLine(f"date {text!r}: {error}") from error


def _amount(text: str) -> Money:
    try:
        amount = Money.parse(text, CURRENCY)
    except MoneyError as error:
        raise UnusableLine(f"amount: {error}") from error
    if amount.minor < 0:
        raise UnusableLine(f"amount {text} is negative")
    return amount
