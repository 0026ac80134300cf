"""Statements that try to break the journal, for both databases: the unit tests and the contract tests run them."""

from __future__ import annotations

import json
from typing import Final

ACCOUNTS: Final = {"receivable": "asset", "revenue": "revenue"}


def entries(*legs: tuple[str, int, str]) -> str:
    return json.dumps(
        [{"account": account, "amount_minor": minor, "currency": cur, "party": ""} for account, minor, cur in legs]
    )


GOOD: Final = entries(("receivable", 100, "USD"), ("revenue", -100, "USD"))


def insert_tx(tx_id: str, text: str, *, body: str = "h", cause: str | None = None) -> str:
    escaped = text.replace("'", "''").replace(":", "\\:")
    return (
        "INSERT INTO journal_tx (id, cause_id, purpose, effective_on, entries, body_hash) "  # noqa: S608  a fixed text of this test
        f"VALUES ('{tx_id}', '{cause or tx_id}', 'p', '1997-01-31', '{escaped}', '{body}')"
    )


def insert_entry(tx_id: str, ordinal: object, account: str, minor: object) -> str:
    return (
        "INSERT INTO journal_entry (tx_id, ordinal, account, party, amount_minor, currency) "  # noqa: S608  a fixed text of this test
        f"VALUES ('{tx_id}', {ordinal}, '{account}', '', {minor}, 'USD')"
    )


BREAKERS: Final[dict[str, str]] = {
    # 'seed' is a posted transaction with the entries GOOD
    "unbalanced": insert_tx("t", entries(("receivable", 100, "USD"), ("revenue", -99, "USD"))),
    "balanced only across currencies": insert_tx("t", entries(("receivable", 100, "USD"), ("revenue", -100, "EUR"))),
    "one entry": insert_tx("t", entries(("receivable", 0, "USD"))),
    "no entries": insert_tx("t", "[]"),
    "no array": insert_tx("t", '{"account":"receivable"}'),
    "no json": insert_tx("t", "nonsense"),
    "an entry of zero": insert_tx("t", entries(("receivable", 0, "USD"), ("revenue", 0, "USD"))),
    "an unknown account": insert_tx("t", entries(("nowhere", 5, "USD"), ("revenue", -5, "USD"))),
    "fractions of a cent": insert_tx("t", GOOD.replace("-100", "-100.5").replace("100,", "100.5,")),
    "an amount as text": insert_tx("t", GOOD.replace("-100", '"-100"')),
    "an amount that is missing": insert_tx("t", '[{"account":"revenue","party":"","currency":"USD"},{}]'),
    "an amount beyond 64 bits": insert_tx("t", GOOD.replace("100", "10000000000000000000")),
    "same cause and purpose under another id": insert_tx("t", GOOD, cause="seed"),
    "an entry more": insert_entry("seed", 2, "receivable", 5),
    "an entry twice": insert_entry("seed", 0, "receivable", 100),
    "an entry of another account": insert_entry("seed", 0, "revenue", 100),
    "an entry of no transaction": insert_entry("nothing", 0, "receivable", 5),
    "an entry at a negative place": insert_entry("seed", -1, "revenue", -100),
    "an entry at a strange place": insert_entry("seed", "'#-1'", "revenue", -100),
    "changed amount": "UPDATE journal_entry SET amount_minor = amount_minor + 1",
    "changed transaction": "UPDATE journal_tx SET effective_on = '1999-01-01'",
    "changed entries": "UPDATE journal_tx SET entries = '[]'",
    "changed account": "UPDATE ledger_account SET kind = 'liability'",
    "removed entry": "DELETE FROM journal_entry",
    "removed transaction": "DELETE FROM journal_tx",
    "removed account": "DELETE FROM ledger_account",
}

ONLY_SQLITE: Final[dict[str, str]] = {
    "replaced transaction": insert_tx(
        "seed", entries(("receivable", 7, "USD"), ("revenue", -7, "USD")), body="other"
    ).replace("INSERT", "INSERT OR REPLACE", 1),
    "replaced by cause": insert_tx("other", GOOD, cause="seed").replace("INSERT", "INSERT OR REPLACE", 1),
    "replaced entry": insert_entry("seed", 0, "receivable", 100).replace("INSERT", "INSERT OR REPLACE", 1),
    "replaced entry by another": insert_entry("seed", 0, "receivable", 5).replace("INSERT", "INSERT OR REPLACE", 1),
    "replaced account": "INSERT OR REPLACE INTO ledger_account (code, kind) VALUES ('revenue', 'asset')",
    "upserted": insert_tx("seed", GOOD, body="h") + " ON CONFLICT (id) DO UPDATE SET entries = '[]'",
}

ONLY_POSTGRESQL: Final[dict[str, str]] = {
    "emptied entries": "TRUNCATE journal_entry",
    "emptied transactions": "TRUNCATE journal_tx CASCADE",
    "upserted": insert_tx("seed", GOOD) + " ON CONFLICT (id) DO UPDATE SET entries = '[]'",
}
