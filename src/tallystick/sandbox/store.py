"""What the provider remembers: charges and keys, in memory and in a SQLite file.

Owns: the file ``sandbox.sqlite`` (with its format version), the dictionaries that mirror it, the settlement rows. A
charge and its key's stored response are one commit, acknowledged only after it: durable over ``kill -9``
(``synchronous=NORMAL``; not over a power cut). Must not know: HTTP, faults. One thread owns it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import sqlite3
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Final

from tallystick.errors import ConfigurationError
from tallystick.sandbox.charge import Charge

FORMAT_VERSION: Final = 1
FILE_NAME: Final = "sandbox.sqlite"
SETTLEMENT_COLUMNS: Final = (
    "id",
    "type",
    "amount_minor",
    "fee_minor",
    "net_minor",
    "currency",
    "reference",
    "intent_reference",
    "created",
)

_CHARGE_COLUMNS: Final = ", ".join(field.name for field in fields(Charge))
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS charge (
    id TEXT PRIMARY KEY, balance_transaction_id TEXT NOT NULL UNIQUE, status TEXT NOT NULL,
    amount_minor INTEGER NOT NULL, fee_minor INTEGER NOT NULL, currency TEXT NOT NULL, reference TEXT NOT NULL,
    customer TEXT NOT NULL, idempotency_key TEXT NOT NULL, created_ms INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS stored_response (
    idempotency_key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, status INTEGER NOT NULL, body BLOB NOT NULL,
    first_used_ms INTEGER NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """What a key answers until it expires: the first response, a 500 included."""

    idempotency_key: str
    fingerprint: str
    status: int
    body: bytes
    first_used_ms: int


class Store:
    """Opens or creates the file in ``data``; ``ConfigurationError`` if another version wrote it."""

    def __init__(self, data: Path, *, seed: int) -> None:
        data.mkdir(parents=True, exist_ok=True)
        self._data = data
        self._seed = seed
        self._connection = sqlite3.connect(data / FILE_NAME, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.executescript(_TABLES)
        version = self._setting("format_version", FORMAT_VERSION)
        if version != FORMAT_VERSION:
            raise ConfigurationError(f"{data / FILE_NAME} has format {version}, this program has {FORMAT_VERSION}")
        self.clock_offset_ms = self._setting("clock_offset_ms", 0)
        rows = self._connection.execute(f"SELECT {_CHARGE_COLUMNS} FROM charge ORDER BY rowid")  # noqa: S608  ours
        self.charges: dict[str, Charge] = {row[0]: Charge(*row) for row in rows}
        self._by_reference: dict[str, list[Charge]] = {}
        for charge in self.charges.values():
            self._by_reference.setdefault(charge.reference, []).append(charge)
        self._responses = {
            row[0]: StoredResponse(*row)
            for row in self._connection.execute(
                "SELECT idempotency_key, fingerprint, status, body, first_used_ms FROM stored_response"
            )
        }

    def response(self, key: str, *, now_ms: int, window_ms: int) -> StoredResponse | None:
        """What the key answers, unless it has expired."""
        stored = self._responses.get(key)
        if stored is None or now_ms - stored.first_used_ms >= window_ms:
            return None
        return stored

    def commit(self, charge: Charge | None, response: StoredResponse) -> None:
        """Keep a charge and its key's response, both or neither; durable when it returns."""
        cursor = self._connection
        cursor.execute("BEGIN IMMEDIATE")
        try:
            if charge is not None:
                cursor.execute(
                    f"INSERT INTO charge ({_CHARGE_COLUMNS}) VALUES ({', '.join('?' * 10)})",  # noqa: S608  ours
                    astuple(charge),
                )
            cursor.execute("INSERT OR REPLACE INTO stored_response VALUES (?, ?, ?, ?, ?)", astuple(response))
            cursor.execute("COMMIT")
        except sqlite3.Error:
            cursor.execute("ROLLBACK")
            raise
        self._responses[response.idempotency_key] = response
        if charge is not None:
            self.charges[charge.id] = charge
            self._by_reference.setdefault(charge.reference, []).append(charge)

    def next_ids(self) -> tuple[str, str]:
        """Ids of the next charge and its balance transaction: fixed by seed and ordinal."""
        ordinal = len(self.charges)
        digest = hashlib.blake2b(f"{self._seed}:{ordinal}".encode(), digest_size=12).hexdigest()
        return f"ch_{digest}", f"txn_{digest}"

    def move_clock(self, by_ms: int) -> None:
        """Keep the clock's distance from real time over restarts."""
        self.clock_offset_ms += by_ms
        self._connection.execute("UPDATE setting SET value = ? WHERE name = 'clock_offset_ms'", (self.clock_offset_ms,))

    def find(self, *, reference: str | None) -> Iterable[Charge]:
        """Charges, oldest first."""
        return self.charges.values() if reference is None else self._by_reference.get(reference, ())

    def settlement_csv(self) -> str:
        """One row for each charge that moved money, oldest first; times in whole seconds since the epoch."""
        sink = io.StringIO()
        writer = csv.writer(sink, lineterminator="\n")
        writer.writerow(SETTLEMENT_COLUMNS)
        for charge in self.charges.values():
            if charge.status != "succeeded":
                continue
            net_minor = charge.amount_minor - charge.fee_minor
            money = (charge.amount_minor, charge.fee_minor, net_minor, charge.currency.upper())
            names = (charge.id, charge.reference, charge.created_ms // 1000)
            writer.writerow((charge.balance_transaction_id, "charge", *money, *names))
        return sink.getvalue()

    def write_settlement(self) -> Path:
        """Write the settlement file into the data folder, whole or not at all."""
        path = self._data / "settlement.csv"
        partial = path.with_suffix(".tmp")
        partial.write_text(self.settlement_csv())
        partial.replace(path)
        return path

    def close(self) -> None:
        self._connection.close()

    def _setting(self, name: str, default: int) -> int:
        self._connection.execute("INSERT OR IGNORE INTO setting VALUES (?, ?)", (name, default))
        row = self._connection.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
        return int(row[0])
