"""Invoices as values: which rated items make which invoice, line by line.

Owns: grouping, totals, ids. Pure: items and the next ordinals come in, drafts come out. Must not know: SQL.
"""

from __future__ import annotations

import calendar
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from typing import Final

from tallystick.ids import EventId, deterministic_id

USAGE_KIND: Final = "usage"
CHARGE_PURPOSE: Final = "charge"


@dataclass(frozen=True, slots=True)
class Item:
    """A rated item that is not on an invoice yet."""

    id: str
    account: str
    period: str
    currency: str
    charge_id: str
    quantity: int
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Line:
    """One charge on an invoice, with the items that it sums up."""

    id: EventId
    invoice_id: EventId
    ordinal: int
    charge_id: str
    group_key: str
    items: tuple[Item, ...]

    @property
    def quantity(self) -> int:
        return sum(item.quantity for item in self.items)

    @property
    def amount_minor(self) -> int:
        return sum(item.amount_minor for item in self.items)


@dataclass(frozen=True, slots=True)
class Invoice:
    """What an account owes for one month in one currency. ``ordinal`` counts invoices of the same month."""

    id: EventId
    account: str
    currency: str
    period: str
    kind: str
    ordinal: int
    lines: tuple[Line, ...]
    total_minor: int
    """No discounts and no taxes yet: the sum of the lines."""
    intent_id: EventId
    """The id of the first charge for this invoice."""

    @property
    def issued_on(self) -> date:
        """Last day of the period: a date of the business, not of the run."""
        year, month = map(int, self.period.split("-"))
        return date(year, month, calendar.monthrange(year, month)[1])

    @property
    def item_count(self) -> int:
        return sum(len(line.items) for line in self.lines)


def invoice_id(*, account: str, currency: str, period: str, kind: str, ordinal: int) -> EventId:
    return deterministic_id("invoice", account, currency, period, kind, ordinal)


def draw_up(
    account: str, items: Iterable[Item], *, next_ordinal: Callable[[str, str], int], kind: str = USAGE_KIND
) -> tuple[Invoice, ...]:
    """One invoice for each month and currency of ``items``, oldest first; ``next_ordinal(period, currency)``.

    Items are sorted by id first, so that the result does not depend on the order in which they were read.
    """
    groups: dict[tuple[str, str], list[Item]] = defaultdict(list)
    for item in sorted(items, key=lambda one: one.id):
        groups[item.period, item.currency].append(item)
    invoices = []
    for (period, currency), members in sorted(groups.items()):
        ordinal = next_ordinal(period, currency)
        identity = invoice_id(account=account, currency=currency, period=period, kind=kind, ordinal=ordinal)
        lines = _lines(identity, members)
        invoices.append(
            Invoice(
                id=identity,
                account=account,
                currency=currency,
                period=period,
                kind=kind,
                ordinal=ordinal,
                lines=lines,
                total_minor=sum(line.amount_minor for line in lines),
                intent_id=deterministic_id("payment_intent", identity, CHARGE_PURPOSE, 0),
            )
        )
    return tuple(invoices)


def _lines(identity: EventId, members: list[Item]) -> tuple[Line, ...]:
    charges: dict[str, list[Item]] = defaultdict(list)
    for item in members:
        charges[item.charge_id].append(item)
    return tuple(
        Line(
            id=deterministic_id("invoice_line", identity, charge_id, ""),
            invoice_id=identity,
            ordinal=ordinal,
            charge_id=charge_id,
            group_key="",
            items=tuple(charges[charge_id]),
        )
        for ordinal, charge_id in enumerate(sorted(charges))
    )
