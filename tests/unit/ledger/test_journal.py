"""A journal transaction is balanced or it does not exist."""

from __future__ import annotations

from datetime import date

import pytest

from tallystick.ledger.journal import JournalEntry, JournalError, JournalTx, transfer
from tallystick.ledger.money import Money

DAY = date(1997, 1, 31)


def usd(minor: int) -> Money:
    return Money(minor, "USD")


def test_a_transaction_that_does_not_sum_to_zero_is_refused() -> None:
    with pytest.raises(JournalError, match="does not sum to zero"):
        JournalTx("cause", "issue", DAY, (JournalEntry("receivable", usd(100)), JournalEntry("revenue", usd(-99))))


def test_the_sum_is_zero_in_each_currency_and_not_across_them() -> None:
    entries = (JournalEntry("receivable", usd(100)), JournalEntry("revenue", Money(-100, "EUR")))
    with pytest.raises(JournalError, match="'EUR': -100, 'USD': 100"):
        JournalTx("cause", "issue", DAY, entries)


@pytest.mark.parametrize("entries", [(), (JournalEntry("receivable", usd(0)),)])
def test_fewer_than_two_entries_are_refused(entries: tuple[JournalEntry, ...]) -> None:
    with pytest.raises(JournalError, match="2 to 1000 entries"):
        JournalTx("cause", "issue", DAY, entries)


def test_an_entry_of_zero_is_refused() -> None:
    with pytest.raises(JournalError, match="zero on receivable"):
        transfer(cause_id="c", purpose="p", effective_on=DAY, debit="receivable", credit="revenue", amount=usd(0))


def test_the_id_comes_from_cause_and_purpose_alone() -> None:
    one = transfer(cause_id="c", purpose="p", effective_on=DAY, debit="a", credit="b", amount=usd(1))
    two = transfer(cause_id="c", purpose="p", effective_on=date(1998, 1, 1), debit="x", credit="y", amount=usd(2))
    assert one.id == two.id == "98e437d6-5bab-8734-9681-52f58887c34c"
    assert one.id != transfer(cause_id="c", purpose="q", effective_on=DAY, debit="a", credit="b", amount=usd(1)).id
