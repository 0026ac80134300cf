"""Which items make which invoice: by month and currency, the same in every order."""

from __future__ import annotations

import random
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.billing.invoices import Invoice, Item, draw_up

ITEMS = st.builds(
    Item,
    id=st.uuids().map(str),
    account=st.just("cdnow:00004"),
    period=st.sampled_from(["1997-01", "1997-02", "1998-02"]),
    currency=st.sampled_from(["USD", "EUR"]),
    charge_id=st.sampled_from(["purchase", "fee"]),
    quantity=st.integers(min_value=0, max_value=5),
    amount_minor=st.integers(min_value=0, max_value=1_000),
)


def drawn(items: list[Item], *, ordinal: int = 0) -> tuple[Invoice, ...]:
    return draw_up("cdnow:00004", items, next_ordinal=lambda _period, _currency: ordinal)


@given(st.lists(ITEMS, max_size=30, unique_by=lambda item: item.id), st.randoms(use_true_random=False))
def test_every_item_is_on_one_line_of_its_month_and_currency(items: list[Item], shuffle: random.Random) -> None:
    invoices = drawn(items)
    placed = [item for invoice in invoices for line in invoice.lines for item in line.items]
    assert sorted(placed, key=lambda item: item.id) == sorted(items, key=lambda item: item.id)
    assert [(one.period, one.currency) for one in invoices] == sorted({(item.period, item.currency) for item in items})
    for invoice in invoices:
        assert {item.period for line in invoice.lines for item in line.items} == {invoice.period}
        assert invoice.total_minor == sum(line.amount_minor for line in invoice.lines)
        assert len({line.charge_id for line in invoice.lines}) == len(invoice.lines)
    shuffle.shuffle(items)
    assert drawn(items) == invoices


@pytest.mark.parametrize(("period", "day"), [("1997-02", 28), ("1996-02", 29), ("1997-12", 31)])
def test_an_invoice_is_issued_on_the_last_day_of_its_month(period: str, day: int) -> None:
    (invoice,) = drawn([Item("1", "cdnow:00004", period, "USD", "purchase", 1, 5)])
    assert invoice.issued_on == date(int(period[:4]), int(period[5:]), day)


def test_ids_come_from_account_month_and_ordinal_and_not_from_the_items() -> None:
    one = drawn([Item("1", "cdnow:00004", "1997-01", "USD", "purchase", 1, 5)])[0]
    other = drawn([Item("2", "cdnow:00004", "1997-01", "USD", "purchase", 1, 7)])[0]
    next_one = drawn([Item("3", "cdnow:00004", "1997-01", "USD", "purchase", 1, 5)], ordinal=1)[0]
    assert (one.id, one.intent_id) == (other.id, other.intent_id)
    assert one.id == "de932be7-8002-818c-b83d-348741e3eb00"
    assert next_one.id != one.id
    assert next_one.intent_id != one.intent_id
