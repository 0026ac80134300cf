"""The database itself keeps the journal balanced and append-only, on SQLite."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from tests.unit.ledger.journal_breakers import ACCOUNTS, BREAKERS, GOOD, ONLY_SQLITE, insert_tx

from tallystick.boundary.database import open_database
from tallystick.errors import ConfigurationError
from tallystick.ledger.journal import JournalConflict, balances, balances_by_party, post, transfer
from tallystick.ledger.money import Money
from tallystick.ledger.tables import create_tables

DAY = date(1997, 1, 31)
ALL = {**BREAKERS, **ONLY_SQLITE}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_database(f"sqlite:///{tmp_path}/ledger.sqlite")
    create_tables(engine, ACCOUNTS)
    with engine.begin() as connection:
        connection.execute(text(insert_tx("seed", GOOD)))
    yield engine
    engine.dispose()


def dump(engine: Engine) -> list[object]:
    with engine.begin() as connection:
        return [
            tuple(row)
            for table in ("ledger_account", "journal_tx", "journal_entry")
            for row in connection.execute(text(f"SELECT * FROM {table} ORDER BY 1, 2"))  # noqa: S608
        ]


@pytest.mark.parametrize("name", sorted(ALL))
def test_the_database_refuses(engine: Engine, name: str) -> None:
    before = dump(engine)
    try:
        with engine.begin() as connection:
            connection.execute(text(ALL[name]))
    except DBAPIError:
        pass
    else:
        assert name == "upserted", "the statement went through"  # the trigger ignores the row: nothing changed
    assert dump(engine) == before


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_plain_connection_with_default_settings_is_refused_too(engine: Engine, name: str) -> None:
    before = dump(engine)
    plain = sqlite3.connect(str(engine.url.database))
    try:
        with plain:
            plain.execute(ALL[name].replace("\\:", ":"))
    except sqlite3.DatabaseError:
        pass
    else:
        assert name == "upserted"
    finally:
        plain.close()
    assert dump(engine) == before


@pytest.mark.parametrize("clause", ["IGNORE", "REPLACE", "FAIL", "ABORT"])
@pytest.mark.parametrize("name", sorted(name for name, statement in BREAKERS.items() if "INSERT" in statement))
def test_no_conflict_clause_of_sqlite_gets_past_the_triggers(engine: Engine, name: str, clause: str) -> None:
    """The clause of the outer statement replaces that of every statement inside a trigger."""
    before = dump(engine)
    plain = sqlite3.connect(str(engine.url.database), isolation_level=None)
    plain.execute("BEGIN")
    with contextlib.suppress(sqlite3.DatabaseError):
        plain.execute(BREAKERS[name].replace("\\:", ":").replace("INSERT", f"INSERT OR {clause}", 1))
    plain.execute("COMMIT")  # what the refused statement left behind, as a careless caller would
    plain.close()
    assert dump(engine) == before


def test_posting_writes_balanced_entries_once(engine: Engine) -> None:
    tx = transfer(
        cause_id="invoice-1",
        purpose="issue",
        effective_on=DAY,
        debit="receivable",
        credit="revenue",
        amount=Money(2933, "USD"),
        party="00004",
    )
    with engine.begin() as connection:
        assert post(connection, tx)
        assert not post(connection, tx)
    with engine.begin() as connection:
        assert not post(connection, tx)
        assert balances(connection) == {("receivable", "USD"): 3033, ("revenue", "USD"): -3033}
        assert balances_by_party(connection, "receivable") == {("", "USD"): 100, ("00004", "USD"): 2933}


def test_the_same_id_with_other_contents_is_a_conflict_and_changes_nothing(engine: Engine) -> None:
    def issue(minor: int) -> None:
        tx = transfer(
            cause_id="i",
            purpose="issue",
            effective_on=DAY,
            debit="receivable",
            credit="revenue",
            amount=Money(minor, "USD"),
        )
        with engine.begin() as connection:
            post(connection, tx)

    issue(100)
    before = dump(engine)
    with pytest.raises(JournalConflict, match="'issue' of i"):
        issue(101)
    assert dump(engine) == before


def test_text_from_outside_is_stored_as_it_is(engine: Engine) -> None:
    party = 'Zoë "O\'Neil" \\ :x %s'
    tx = transfer(
        cause_id="i",
        purpose="issue",
        effective_on=DAY,
        debit="receivable",
        credit="revenue",
        amount=Money(1, "USD"),
        party=party,
    )
    with engine.begin() as connection:
        post(connection, tx)
        assert (party, "USD") in balances_by_party(connection, "revenue")


def test_creating_again_changes_nothing_and_another_kind_is_refused(engine: Engine) -> None:
    create_tables(engine, ACCOUNTS)
    with pytest.raises(ConfigurationError, match="'revenue' exists as revenue, not as asset"):
        create_tables(engine, {"revenue": "asset"})
