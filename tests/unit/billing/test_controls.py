"""Each invariant's check finds what breaks it, when somebody gets past the triggers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from tests.unit.billing.in_memory import Billing
from tests.unit.billing.provider import FakeProvider

from tallystick.billing.controls import run_checks
from tallystick.boundary.database import open_database, reading

LINES = [
    b"00004 0001 19970101  2   29.33",
    b"00004 0001 19970101  2   29.33",
    b"00004 0001 19970802  1   14.96",
    b"00021 0002 19970101  3   63.34",
    b"00050 0003 19970201  1    0.00",
]

BREAKS: dict[str, tuple[int, str]] = {
    "an entry changed": (1, "UPDATE journal_entry SET amount_minor = amount_minor + 1 WHERE ordinal = 0"),
    "an entry removed": (1, "DELETE FROM journal_entry WHERE ordinal = 0"),
    "both entries removed": (1, "DELETE FROM journal_entry"),
    "an allocation of less": (3, "UPDATE line_allocation SET amount_minor = amount_minor - 1"),
    "an item of another account": (3, "UPDATE rated_item SET account = 'cdnow:99999'"),
    "an item of another month": (3, "UPDATE rated_item SET period = '1999-01'"),
    "a line changed": (4, "UPDATE invoice_line SET amount_minor = amount_minor + 1"),
    "a line removed": (4, "DELETE FROM invoice_line"),
    "a number missing": (4, "UPDATE invoice SET number = 17 WHERE number = 1"),
    "a total changed": (5, "UPDATE invoice SET total_minor = total_minor + 1, lines_minor = lines_minor + 1"),
    "a posting of another account": (5, "UPDATE journal_entry SET party = 'x' WHERE account = 'receivable'"),
    "a posting removed": (5, "DELETE FROM journal_tx WHERE purpose = 'invoice.issue'"),
    "an order of more than is owed": (6, "UPDATE payment_intent SET amount_minor = amount_minor + 1"),
    "an order removed": (6, "DELETE FROM payment_intent"),
    "a capture of more": (6, "UPDATE payment_capture SET amount_minor = amount_minor + 1"),
    "a capture removed": (6, "DELETE FROM payment_capture"),
    "two open attempts": (
        6,
        (
            "UPDATE tallystick_effect_attempt SET state = 'UNKNOWN', intent_id = "
            "(SELECT MIN(intent_id) FROM tallystick_effect_attempt), attempt_number = rowid"
        ),
    ),
    "a posting to another account of the books": (7, "UPDATE journal_entry SET account = 'bank' WHERE ordinal = 0"),
    "two customers' payments swapped": (
        8,
        (
            "UPDATE journal_entry SET party = CASE party WHEN 'cdnow:00004' THEN 'cdnow:00021' ELSE 'cdnow:00004' END "
            "WHERE tx_id IN (SELECT id FROM journal_tx WHERE purpose = 'payment.capture')"
        ),
    ),
}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A database after billing and charging, with every trigger and every index on open attempts taken away."""
    url = f"sqlite:///{tmp_path}/billing.sqlite"
    billing = Billing(url)
    billing.ingest(LINES)
    billing.run()
    billing.close_accounts(("cdnow:00004", "cdnow:00021", "cdnow:00050"), through="1998-06")
    billing.run()
    billing.close()
    engine = open_database(url)
    assert FakeProvider(engine).dispatch() == 3
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        names = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all()
        for name in [*names]:
            connection.execute(text(f"DROP TRIGGER {name}"))
        connection.execute(text("DROP INDEX tallystick_effect_attempt_open"))
        connection.commit()
    yield engine
    engine.dispose()


def test_books_that_nobody_touched_have_no_findings(engine: Engine) -> None:
    with reading(engine) as connection:
        assert run_checks(connection) == []


@pytest.mark.parametrize("name", sorted(BREAKS))
def test_a_broken_invariant_is_found(engine: Engine, name: str) -> None:
    invariant, statement = BREAKS[name]
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
        connection.exec_driver_sql("PRAGMA ignore_check_constraints=ON")
        assert connection.execute(text(statement)).rowcount > 0
        found = {finding.invariant for finding in run_checks(connection)}
        connection.rollback()
    assert invariant in found
