"""Prices: what a plan's charges ask for one accepted event.

Owns: price plans, their charges, rounding. Must not know: topics, invoices.

Rates are ``Decimal``; each rated amount is rounded once, half to even, to minor units. Quantities and amounts come
from the event; a charge sees nothing else, so that a replay rates the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from tallystick.billing.events import UsageAccepted, UsageRated, rated_item_id
from tallystick.errors import ConfigurationError
from tallystick.ledger.money import Money


@dataclass(frozen=True, slots=True)
class Flat:
    """``amount`` for each event, whatever it holds."""

    amount: Money

    def price(self, usage: UsageAccepted) -> Money:
        _same_currency(self.amount.currency, usage)
        return self.amount


@dataclass(frozen=True, slots=True)
class PerUnit:
    """``rate`` major units of ``currency`` for each unit of quantity."""

    rate: Decimal
    currency: str

    def price(self, usage: UsageAccepted) -> Money:
        _same_currency(self.currency, usage)
        return Money.rounded(self.rate * usage.quantity, self.currency)


@dataclass(frozen=True, slots=True)
class ShareOfAmount:
    """``share`` of the amount that the event itself carries: 1 passes a purchase on as it is."""

    share: Decimal

    def price(self, usage: UsageAccepted) -> Money:
        if self.share == 1:
            return Money(usage.amount_minor, usage.currency)
        return Money.rounded(self.share * Money(usage.amount_minor, usage.currency).major(), usage.currency)


Model = Flat | PerUnit | ShareOfAmount


@dataclass(frozen=True, slots=True)
class Charge:
    """One priced thing of a plan. Its id is part of the ids of what it rates: never re-used for another price."""

    id: str
    model: Model


@dataclass(frozen=True, slots=True)
class PricePlan:
    """The charges that apply to every event, in order."""

    id: str
    charges: tuple[Charge, ...]

    def __post_init__(self) -> None:
        ids = [charge.id for charge in self.charges]
        if not ids or len(set(ids)) != len(ids) or not all(0 < len(one) <= 50 for one in ids):
            raise ConfigurationError(f"price plan {self.id!r}: charge ids must be unique, of 1 to 50 characters: {ids}")


PURCHASES: Final = PricePlan("purchases", (Charge("purchase", ShareOfAmount(Decimal(1))),))
"""Each purchase is billed at the amount it was made for."""


def rate(usage: UsageAccepted, plan: PricePlan) -> tuple[UsageRated, ...]:
    """One rated item for each charge of the plan, zero amounts included: they were used, too."""
    items = []
    for charge in plan.charges:
        amount = charge.model.price(usage)
        items.append(
            UsageRated(
                rated_item_id=rated_item_id(event_id=usage.usage_event_id, charge_id=charge.id),
                usage_event_id=usage.usage_event_id,
                tenant=usage.tenant,
                source=usage.source,
                line_number=usage.line_number,
                account=usage.account,
                charge_id=charge.id,
                occurred_on=usage.occurred_on,
                period=usage.occurred_on[:7],
                quantity=usage.quantity,
                amount_minor=amount.minor,
                currency=amount.currency,
            )
        )
    return tuple(items)


def _same_currency(currency: str, usage: UsageAccepted) -> None:
    if currency != usage.currency:
        raise ConfigurationError(f"a price in {currency} does not apply to usage in {usage.currency}")
