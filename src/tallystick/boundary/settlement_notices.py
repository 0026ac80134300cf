"""A provider's settlement file as notices: what it settled, it charged.

Owns: reading the file's lines. Must not know: SQL, our books. The file is the last word where webhooks were lost and
nothing can be listed any more; a line that repeats what stands in the ledger does nothing.

Columns, by header: ``type``, ``amount_minor``, ``fee_minor``, ``currency``, ``reference`` (the provider's object) and
``intent_reference`` (what we asked it to remember), as the sandbox writes them and ``ledger.statement`` reads them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from typing import Final

from tallystick.boundary.effect_ledger.notices import Notice
from tallystick.boundary.provider import Outcome, OutcomeKind
from tallystick.errors import CorruptData

_NEEDED: Final = ("type", "amount_minor", "fee_minor", "currency", "reference", "intent_reference")


def settlement_notices(lines: Iterable[str], *, provider: str, place: str) -> Iterator[Notice]:
    """A notice of success for each line of type ``charge``; other movements say nothing about an attempt.

    ``CorruptData`` names ``place`` and the line of whatever does not parse: half a file settles nothing.
    """
    reader = csv.DictReader(lines, strict=True)
    missing = [column for column in _NEEDED if column not in (reader.fieldnames or ())]
    if missing:
        raise CorruptData(f"a settlement file without column {', '.join(missing)}", place=f"{place}:1")
    notices: list[Notice] = []
    try:
        for row in reader:
            if None in row or None in row.values():
                raise CorruptData(
                    "a settlement line with too few or too many fields", place=f"{place}:{reader.line_num}"
                )
            if row["type"] == "charge":
                notices.append(_notice(row, provider, f"{place}:{reader.line_num}"))
    except csv.Error as error:
        raise CorruptData(f"no CSV: {error}", place=f"{place}:{reader.line_num}") from error
    return iter(notices)


def _notice(row: dict[str, str], provider: str, place: str) -> Notice:
    try:
        amount_minor, fee_minor = int(row["amount_minor"]), int(row["fee_minor"])
    except ValueError as error:
        raise CorruptData("an amount that is no whole number of minor units", place=place) from error
    outcome = Outcome(
        OutcomeKind.SUCCEEDED,
        provider_object_id=row["reference"],
        amount_minor=amount_minor,
        fee_minor=fee_minor,
        currency=row["currency"].upper(),
        code="settlement",
    )
    return Notice(provider, outcome, reference=row["intent_reference"] or None)
