"""Journal transactions as values, and posting them.

Owns: ``JournalEntry``, ``JournalTx``, their validation, ``post``. Must not know: which business fact posts.

A debit is positive, a credit negative. A transaction sums to zero in each currency: checked here for a clear message,
and again by the database, which nothing gets past (``ledger.tables``).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import Connection, bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from tallystick.errors import TallystickError
from tallystick.ids import EventId, body_hash, deterministic_id
from tallystick.ledger.money import Money
from tallystick.ledger.tables import journal_entry, journal_tx

MAX_ENTRIES: Final = 1_000

# Built once: to build a statement costs more than SQLite takes to run it.
_POST: Final = {
    "sqlite": sqlite.insert(journal_tx).on_conflict_do_nothing(index_elements=["id"]).returning(journal_tx.c.id),
    "postgresql": (
        postgresql.insert(journal_tx).on_conflict_do_nothing(index_elements=["id"]).returning(journal_tx.c.id)
    ),
}
_STORED: Final = select(journal_tx.c.body_hash).where(journal_tx.c.id == bindparam("tx_id"))


class JournalError(TallystickError):
    """A transaction that may not be posted: unbalanced, too short, too long, or with an entry of zero."""


class JournalConflict(TallystickError):
    """This id was posted with other contents (rule 27): kept as it was, and somebody has to look."""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One leg: debit (positive) or credit (negative) of ``account``; ``party`` names its sub-account, or is empty."""

    account: str
    amount: Money
    party: str = ""


@dataclass(frozen=True, slots=True)
class JournalTx:
    """What one business fact (``cause_id``) does to the accounts for one ``purpose``.

    The id comes from cause and purpose alone, so that a replay posts the same transaction and not a second one.
    """

    cause_id: str
    purpose: str
    effective_on: date
    entries: tuple[JournalEntry, ...]

    def __post_init__(self) -> None:
        if not 2 <= len(self.entries) <= MAX_ENTRIES:
            raise JournalError(f"{self}: 2 to {MAX_ENTRIES} entries, not {len(self.entries)}")
        sums: dict[str, int] = defaultdict(int)
        for entry in self.entries:
            if entry.amount.minor == 0:
                raise JournalError(f"{self}: an entry of zero on {entry.account}")
            sums[entry.amount.currency] += entry.amount.minor
        unbalanced = {currency: minor for currency, minor in sorted(sums.items()) if minor}
        if unbalanced:
            raise JournalError(f"{self}: does not sum to zero: {unbalanced} minor units over")

    @property
    def id(self) -> EventId:
        return deterministic_id("journal_tx", self.cause_id, self.purpose)

    def __str__(self) -> str:
        return f"journal transaction {self.purpose!r} of {self.cause_id}"

    def entries_json(self) -> str:
        """The entries in canonical form, which the database expands into rows: keys sorted, no spaces."""
        return json.dumps(
            [
                {
                    "account": entry.account,
                    "amount_minor": entry.amount.minor,
                    "currency": entry.amount.currency,
                    "party": entry.party,
                }
                for entry in self.entries
            ],
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=False,
        )


def transfer(
    *, cause_id: str, purpose: str, effective_on: date, debit: str, credit: str, amount: Money, party: str = ""
) -> JournalTx:
    """The commonest transaction: ``amount`` from ``credit`` to ``debit``."""
    entries = (JournalEntry(debit, amount, party), JournalEntry(credit, -amount, party))
    return JournalTx(cause_id=cause_id, purpose=purpose, effective_on=effective_on, entries=entries)


def post(connection: Connection, tx: JournalTx) -> bool:
    """Write ``tx`` in the caller's SQL transaction; True if it is new, False if it was there already, identical.

    Insert first: the unique id decides, never a look before (a look can be out of date when the insert happens).
    Raises ``JournalConflict`` when the id was posted with other contents.
    """
    row = _row(tx)
    contents = row["body_hash"]
    try:
        added = connection.execute(_POST[connection.dialect.name], row).scalar_one_or_none()
    except IntegrityError:
        # SQLite's trigger refuses the conflict itself; the statement is undone, the transaction lives on.
        if connection.dialect.name != "sqlite" or _stored_hash(connection, tx) in {None, contents}:
            raise
    else:
        if added is not None:
            return True
    if _stored_hash(connection, tx) != contents:
        raise JournalConflict(f"{tx} ({tx.id}) is already posted with other contents")
    return False


def post_all(connection: Connection, txs: Sequence[JournalTx]) -> None:
    """Write new transactions in one statement; one that exists already is an error.

    For callers that know they are first, such as an effect behind an inbox. Others use ``post``.
    """
    if not txs:
        return
    result = connection.execute(journal_tx.insert(), [_row(tx) for tx in txs])
    # SQLite's trigger passes over an id that exists, identical; PostgreSQL raises, and may not count (-1)
    if 0 <= result.rowcount != len(txs):
        raise JournalConflict(f"{len(txs) - result.rowcount} of {len(txs)} transactions are posted already")


def _row(tx: JournalTx) -> dict[str, str]:
    entries = tx.entries_json()
    effective_on = tx.effective_on.isoformat()
    return {
        "id": tx.id,
        "cause_id": tx.cause_id,
        "purpose": tx.purpose,
        "effective_on": effective_on,
        "entries": entries,
        "body_hash": body_hash(f"{effective_on}\n{entries}".encode()),
    }


def _stored_hash(connection: Connection, tx: JournalTx) -> str | None:
    return connection.execute(_STORED, {"tx_id": tx.id}).scalar_one_or_none()


def balances(connection: Connection) -> dict[tuple[str, str], int]:
    """Sum of all entries of each account: ``(account, currency)`` to minor units, debit positive."""
    return _sums(connection, journal_entry.c.account, journal_entry.c.currency)


def balances_by_party(connection: Connection, account: str) -> dict[tuple[str, str], int]:
    """Sum of the entries of one account for each sub-account: ``(party, currency)`` to minor units."""
    statement_filter = journal_entry.c.account == account
    return _sums(connection, journal_entry.c.party, journal_entry.c.currency, where=statement_filter)


def _sums(connection: Connection, *columns: Any, where: Any = None) -> dict[tuple[str, str], int]:
    statement = select(*columns, func.sum(journal_entry.c.amount_minor)).group_by(*columns)
    if where is not None:
        statement = statement.where(where)
    return {(row[0], row[1]): int(row[2]) for row in connection.execute(statement)}
