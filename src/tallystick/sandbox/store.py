"""What the provider remembers: charges and keys, in memory and in a SQLite file.

Owns: the file ``sandbox.sqlite`` (with its format version), the dictionaries that mirror it. A charge and its key's
stored response are one commit, acknowledged only after it: durable over ``kill -9`` (``synchronous=NORMAL``; not over
a power cut). Must not know: HTTP, faults, the shapes of APIs. One thread owns it.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Final

from tallystick.errors import ConfigurationError
from tallystick.sandbox.charge import Charge
from tallystick.sandbox.settlement import settlement_csv

FORMAT_VERSION: Final = 2
FILE_NAME: Final = "sandbox.sqlite"

_CHARGE_COLUMNS: Final = ", ".join(field.name for field in fields(Charge))
_CHARGE_MARKS: Final = ", ".join("?" for _ in fields(Charge))
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS charge (
    id TEXT PRIMARY KEY, balance_transaction_id TEXT NOT NULL UNIQUE, status TEXT NOT NULL,
    amount_minor INTEGER NOT NULL, fee_minor INTEGER NOT NULL, currency TEXT NOT NULL, reference TEXT NOT NULL,
    customer TEXT NOT NULL, idempotency_key TEXT NOT NULL, created_ms INTEGER NOT NULL, kind TEXT NOT NULL,
    api TEXT NOT NULL, parent_id TEXT NOT NULL, expires_ms INTEGER NOT NULL, changed_ms INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS stored_response (
    idempotency_key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, status INTEGER NOT NULL, body BLOB NOT NULL,
    first_used_ms INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS payout (id TEXT PRIMARY KEY, amount_minor INTEGER NOT NULL, currency TEXT NOT NULL,
    created_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS paid_out (balance_transaction_id TEXT PRIMARY KEY, payout_id TEXT NOT NULL);
"""
_UPSERT: Final = (
    f"INSERT INTO charge ({_CHARGE_COLUMNS}) VALUES ({_CHARGE_MARKS}) ON CONFLICT (id) DO UPDATE SET "  # noqa: S608
    "status = excluded.status, fee_minor = excluded.fee_minor, changed_ms = excluded.changed_ms"
)


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """What a key answers until it expires: the first response, a 500 included."""

    idempotency_key: str
    fingerprint: str
    status: int
    body: bytes
    first_used_ms: int


@dataclass(frozen=True, slots=True)
class Payout:
    """Money that left for our bank."""

    id: str
    amount_minor: int
    currency: str
    created_ms: int


class Store:
    """Opens or creates the file in ``data`` (None: in memory); ``ConfigurationError`` if another version wrote it."""

    def __init__(self, data: Path | None, *, seed: int) -> None:
        if data is not None:
            data.mkdir(parents=True, exist_ok=True)
        self._data = data
        self._seed = seed
        self._connection = sqlite3.connect(":memory:" if data is None else data / FILE_NAME, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._check_version()
        self._connection.executescript(_TABLES)
        self.clock_offset_ms = self._setting("clock_offset_ms", 0)
        rows = self._connection.execute(f"SELECT {_CHARGE_COLUMNS} FROM charge ORDER BY rowid")  # noqa: S608  ours
        self.charges: dict[str, Charge] = {row[0]: Charge(*row) for row in rows}
        self._by_reference: dict[str, dict[str, Charge]] = {}
        for charge in self.charges.values():
            self._by_reference.setdefault(charge.reference, {})[charge.id] = charge
        self._pending = {charge.id: charge for charge in self.charges.values() if charge.status == "pending"}
        self._responses = {
            row[0]: StoredResponse(*row)
            for row in self._connection.execute(
                "SELECT idempotency_key, fingerprint, status, body, first_used_ms FROM stored_response"
            )
        }
        self.on_change: Callable[[Charge], None] = lambda _charge: None
        """Told of every charge that was made or changed, after its commit."""

    def _check_version(self) -> None:
        self._connection.execute("CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value INTEGER NOT NULL)")
        version = self._setting("format_version", FORMAT_VERSION)
        if version != FORMAT_VERSION:
            self._connection.close()
            raise ConfigurationError(
                f"the sandbox's data in {self._data} has format {version}, this program has {FORMAT_VERSION}",
                remedy="It is play money: use another folder",
            )

    def response(self, key: str, *, now_ms: int, window_ms: int) -> StoredResponse | None:
        """What the key answers, unless it has expired."""
        stored = self._responses.get(key)
        if stored is None or now_ms - stored.first_used_ms >= window_ms:
            return None
        return stored

    def has_used(self, key: str) -> bool:
        """Whether the key was ever used, expired or not."""
        return key in self._responses

    def commit(self, changes: Sequence[Charge], response: StoredResponse | None) -> None:
        """Keep charges and their key's response, all or nothing; durable when it returns."""
        cursor = self._connection
        cursor.execute("BEGIN IMMEDIATE")
        try:
            for charge in changes:
                cursor.execute(_UPSERT, astuple(charge))
            if response is not None:
                cursor.execute("INSERT OR REPLACE INTO stored_response VALUES (?, ?, ?, ?, ?)", astuple(response))
            cursor.execute("COMMIT")
        except sqlite3.Error:
            cursor.execute("ROLLBACK")
            raise
        if response is not None:
            self._responses[response.idempotency_key] = response
        for charge in changes:
            self.charges[charge.id] = charge
            self._by_reference.setdefault(charge.reference, {})[charge.id] = charge
            self._note_pending(charge)
            self.on_change(charge)

    def _note_pending(self, charge: Charge) -> None:
        if charge.status == "pending":
            self._pending[charge.id] = charge
        else:
            self._pending.pop(charge.id, None)

    def next_digest(self) -> str:
        """What the ids of the next charge are made of: fixed by seed and ordinal."""
        return hashlib.blake2b(f"{self._seed}:{len(self.charges)}".encode(), digest_size=12).hexdigest()

    def move_clock(self, by_ms: int) -> None:
        """Keep the clock's distance from real time over restarts."""
        self.clock_offset_ms += by_ms
        self._connection.execute("UPDATE setting SET value = ? WHERE name = 'clock_offset_ms'", (self.clock_offset_ms,))

    def find(self, *, reference: str | None) -> Iterable[Charge]:
        """Charges, refunds and disputes, oldest first."""
        return self.charges.values() if reference is None else self._by_reference.get(reference, {}).values()

    def pending(self) -> tuple[Charge, ...]:
        """Payments that wait for their customer."""
        return tuple(self._pending.values())

    # -- settlement and payouts

    def settlement_csv(self) -> str:
        """One row for each movement, oldest first; times in whole seconds since the epoch."""
        return settlement_csv(self.charges.values())

    def write_settlement(self) -> Path:
        """Write the settlement file into the data folder, whole or not at all."""
        return self._write("settlement.csv", self.settlement_csv())

    def pay_out(self, *, currency: str, now_ms: int) -> tuple[Payout, Path] | None:
        """Pay out the whole balance of a currency; None if there is none. The file has the movements in it."""
        done = {row[0] for row in self._connection.execute("SELECT balance_transaction_id FROM paid_out")}
        moved = [
            charge
            for charge in self.charges.values()
            if charge.moved_money and charge.currency == currency and charge.balance_transaction_id not in done
        ]
        amount_minor = sum(charge.signed_minor - charge.fee_minor for charge in moved)
        if amount_minor <= 0:
            return None
        number = self._connection.execute("SELECT count(*) FROM payout").fetchone()[0]
        payout = Payout(f"po_{self._seed}_{number}", amount_minor, currency, now_ms)
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute("INSERT INTO payout VALUES (?, ?, ?, ?)", astuple(payout))
        rows = [(charge.balance_transaction_id, payout.id) for charge in moved]
        self._connection.executemany("INSERT INTO paid_out VALUES (?, ?)", rows)
        self._connection.execute("COMMIT")
        text = settlement_csv(moved, payout=(payout.id, payout.amount_minor, currency, now_ms))
        return payout, self._write(f"{payout.id}.csv", text)

    def payouts(self) -> tuple[Payout, ...]:
        rows = self._connection.execute("SELECT id, amount_minor, currency, created_ms FROM payout ORDER BY rowid")
        return tuple(Payout(*row) for row in rows)

    def _write(self, name: str, text: str) -> Path:
        if self._data is None:
            raise ConfigurationError("a sandbox in memory has no folder for files")
        path = self._data / name
        partial = path.with_suffix(".tmp")
        partial.write_text(text)
        partial.replace(path)
        return path

    def close(self) -> None:
        self._connection.close()

    def _setting(self, name: str, default: int) -> int:
        self._connection.execute("INSERT OR IGNORE INTO setting VALUES (?, ?)", (name, default))
        row = self._connection.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
        return int(row[0])
