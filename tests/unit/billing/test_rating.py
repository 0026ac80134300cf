"""A plan asks the same of the same event, always, and rounds once."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tallystick.billing.events import UsageAccepted
from tallystick.billing.rating import PURCHASES, Charge, Flat, PerUnit, PricePlan, ShareOfAmount, rate
from tallystick.errors import ConfigurationError
from tallystick.ledger.money import Money

USAGE = UsageAccepted(
    usage_event_id="e617dd0a-da18-81b8-a234-243b54c10036",
    tenant="cdnow",
    source="CDNOW_sample.txt",
    line_number=7,
    account="cdnow:00004",
    occurred_on="1997-01-18",
    quantity=3,
    amount_minor=2973,
    currency="USD",
)


def amounts(plan: PricePlan) -> list[int]:
    return [item.amount_minor for item in rate(USAGE, plan)]


def test_a_purchase_is_rated_at_its_own_amount_in_the_month_it_was_made() -> None:
    (item,) = rate(USAGE, PURCHASES)
    assert (item.amount_minor, item.currency, item.period, item.quantity) == (2973, "USD", "1997-01", 3)
    assert item.rated_item_id == "1c3d899d-08d2-869e-afdc-469b35211f47"


def test_each_charge_of_a_plan_asks_its_own() -> None:
    plan = PricePlan(
        "p",
        (
            Charge("flat", Flat(Money(50, "USD"))),
            Charge("unit", PerUnit(Decimal("0.333"), "USD")),
            Charge("share", ShareOfAmount(Decimal("0.5"))),
        ),
    )
    assert amounts(plan) == [50, 100, 1486]  # 0.999 and 14.865: half to even
    assert len({item.rated_item_id for item in rate(USAGE, plan)}) == 3


def test_the_same_event_is_rated_the_same_again() -> None:
    assert rate(USAGE, PURCHASES) == rate(USAGE, PURCHASES)


def test_a_price_in_another_currency_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="EUR does not apply to usage in USD"):
        rate(USAGE, PricePlan("p", (Charge("flat", Flat(Money(1, "EUR"))),)))


@pytest.mark.parametrize("charges", [(), ("a", "a"), ("",), ("x" * 51,)])
def test_a_plan_without_charges_or_with_unusable_ids_is_refused(charges: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError, match="charge ids"):
        PricePlan("p", tuple(Charge(one, ShareOfAmount(Decimal(1))) for one in charges))
