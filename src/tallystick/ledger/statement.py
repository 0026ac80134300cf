"""A provider's settlement file as values: one line for each movement on our account there.

Owns: ``StatementLine`` and reading the CSV shape of Stripe's balance transactions. Must not know: our own books.

Columns, by header: ``id`` (of the movement), ``type`` (charge, fee, refund, payout), ``amount_minor`` (gross),
``fee_minor``, ``net_minor``, ``currency``, ``reference`` (the provider's id of the charge), ``intent_reference``
(what we asked it to remember), ``created``. Other columns are ignored; a missing one is an error.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tallystick.errors import CorruptData
from tallystick.ids import EventId, body_hash, deterministic_id
from tallystick.ledger.money import Money, MoneyError

COLUMNS: Final = (
    "id",
    "type",
    "amount_minor",
    "fee_minor",
    "net_minor",
    "currency",
    "reference",
    "intent_reference",
    "created",
)
_INTEGER: Final = re.compile(r"-?[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One movement, as the provider tells it. ``line_number`` counts from 1 and includes the header."""

    line_number: int
    id: str
    type: str
    amount_minor: int
    fee_minor: int
    net_minor: int
    currency: str
    reference: str
    intent_reference: str
    created: str

    def record_id(self, provider: str) -> EventId:
        """The id of this movement in our books: a file that is read twice makes it once."""
        return deterministic_id("external_record", provider, self.id)

    def body_hash(self) -> str:
        """Hash of everything but the place in the file: two files may hold the same line."""
        fields = (self.id, self.type, self.amount_minor, self.fee_minor, self.net_minor, self.currency)
        rest = (self.reference, self.intent_reference, self.created)
        return body_hash("\x1f".join(map(str, (*fields, *rest))).encode())


def read_statement(lines: Iterable[str], *, place: str) -> tuple[StatementLine, ...]:
    """The lines of a settlement CSV; ``CorruptData`` names ``place`` and the line of whatever does not parse.

    An amount is an integer of minor units: a decimal point in it is refused, not guessed at.
    """
    reader = csv.DictReader(lines, strict=True)
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise CorruptData(f"a settlement file without column {', '.join(missing)}", place=f"{place}:1")
    result = []
    try:
        for row in reader:
            if None in row or None in row.values():
                raise CorruptData(
                    "a settlement line with too few or too many fields", place=f"{place}:{reader.line_num}"
                )
            result.append(_line(row, reader.line_num, place))
    except csv.Error as error:
        raise CorruptData(f"no CSV: {error}", place=f"{place}:{reader.reader.line_num}") from error
    return tuple(result)


def _line(row: dict[str, str], line_number: int, place: str) -> StatementLine:
    def minor(column: str) -> int:
        if not _INTEGER.fullmatch(row[column]):
            raise CorruptData(f"{column} {row[column]!r} is no integer", place=f"{place}:{line_number}")
        return int(row[column])

    currency = row["currency"].upper()
    line = StatementLine(
        line_number=line_number,
        id=row["id"],
        type=row["type"],
        amount_minor=minor("amount_minor"),
        fee_minor=minor("fee_minor"),
        net_minor=minor("net_minor"),
        currency=currency,
        reference=row["reference"],
        intent_reference=row["intent_reference"],
        created=row["created"],
    )
    if not line.id or not line.type:
        raise CorruptData("a settlement line without id or type", place=f"{place}:{line_number}")
    try:
        Money(line.amount_minor, currency)
    except MoneyError as error:
        raise CorruptData(str(error), place=f"{place}:{line_number}") from error
    return line
