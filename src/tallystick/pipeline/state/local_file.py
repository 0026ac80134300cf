"""The local copy of one partition's state: a SQLite file whose every commit is a committed state with its position.

Owns: ``LocalFile``, its tables, what makes a file foreign. Must not know: Kafka's client, transactions, who writes.

One file holds all stores of a step for one partition number. Entries and the changelog position that they are the
state of are written in one SQLite transaction (rule 24). The file is in WAL mode with ``synchronous=NORMAL``: a killed
process and a power loss leave a committed state, at worst an older one; that is why a position is all that is needed
to go on. A file that SQLite cannot read is an empty one.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from tallystick.errors import CorruptData
from tallystick.killpoints import declare, reach
from tallystick.pipeline.state.layers import Entry, time_of

log = structlog.get_logger(__name__)

FORMAT: Final = "tallystick.state.1"

BEFORE_FLUSH: Final = declare("state.before-flush", "Kafka committed, the local file does not know it")
IN_FLUSH: Final = declare("state.in-flush", "entries are written to the local file, and not committed there")
AFTER_FLUSH: Final = declare("state.after-flush", "the local file has what Kafka committed")

_CACHE_KIB: Final = 16_384


class Proof(msgspec.Struct, frozen=True):
    """The last changelog record that closes a transaction: found again at its offset, it proves the log before it."""

    offset: int
    token: bytes


class Origin(msgspec.Struct, frozen=True):
    """Which changelog partition a store's entries came from. Another one's file is foreign."""

    cluster_id: str
    topic_id: str
    topic: str
    partition: int


class Mark(msgspec.Struct, frozen=True):
    """What a store in the file is: the state of ``origin`` up to ``position``, the next offset to be read."""

    origin: Origin
    position: int
    proof: Proof | None
    written_ms: int
    """Wall clock, for the age of what is not here: tombstones are kept for a while only."""


_MARKS: Final = msgspec.msgpack.Decoder(Mark)


@dataclass(frozen=True, slots=True)
class FileBase:
    """One store's table, read."""

    file: LocalFile
    table: str

    def get(self, key: bytes) -> bytes | None:
        rows = self.file.rows(f"SELECT v FROM {self.table} WHERE k = ?", (key,))  # noqa: S608  # our own names here
        return rows[0][0] if rows else None

    def scan(self, start: bytes, end: bytes | None) -> list[tuple[bytes, bytes]]:
        if end is None:
            return self.file.rows(f"SELECT k, v FROM {self.table} WHERE k >= ? ORDER BY k", (start,))  # noqa: S608
        select = f"SELECT k, v FROM {self.table} WHERE k >= ? AND k < ? ORDER BY k"  # noqa: S608
        return self.file.rows(select, (start, end))

    def due(self, time: int, limit: int) -> list[tuple[bytes, bytes]]:
        select = f"SELECT k, v FROM {self.table} WHERE t <= ? ORDER BY t, k LIMIT ?"  # noqa: S608
        return self.file.rows(select, (time, limit))

    def first_time(self) -> int | None:
        first: int | None = self.file.rows(f"SELECT min(t) FROM {self.table}", ())[0][0]  # noqa: S608
        return first


class LocalFile:
    """The file of one partition number. One thread at a time; which one may change."""

    def __init__(self, path: Path, stores: Mapping[str, bool]) -> None:
        """``stores``: name to whether it is timed. A file of another format, or with other stores, is emptied."""
        self.path = path
        self._stores = dict(stores)
        self._tables = {name: f"store_{number}" for number, name in enumerate(sorted(self._stores))}
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            log.warning("state file emptied", path=str(path), why=str(error))
            self._remove()
            self._open()

    def base(self, store: str) -> FileBase:
        return FileBase(self, self._tables[store])

    def rows(self, select: str, values: tuple[Any, ...]) -> list[Any]:
        """All rows of a query; ``CorruptData`` if the file cannot be read, which is gone then."""
        try:
            return self._connection.execute(select, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from error

    def mark(self, store: str) -> Mark | None:
        """What the store is the state of; None if it is empty."""
        row = self._connection.execute("SELECT mark FROM marks WHERE store = ?", (store,)).fetchone()
        return None if row is None else _MARKS.decode(row[0])

    def write(self, changes: Iterable[tuple[str, Iterable[Entry], Mark]]) -> None:
        """Entries of stores with the marks that they lead to, all or nothing."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            for store, entries, mark in changes:
                self._write_entries(store, entries)
                connection.execute(
                    "INSERT INTO marks VALUES (?, ?) ON CONFLICT (store) DO UPDATE SET mark = excluded.mark",
                    (store, msgspec.msgpack.encode(mark)),
                )
            reach(IN_FLUSH)
            connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from error

    def clear(self, store: str) -> None:
        """Empty a store: it will be built from its changelog."""
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute("DELETE FROM marks WHERE store = ?", (store,))
        self._connection.execute(f"DELETE FROM {self._tables[store]}")  # noqa: S608  # our own name
        self._connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()

    def _write_entries(self, store: str, entries: Iterable[Entry]) -> None:
        table, timed = self._tables[store], self._stores[store]
        entries = list(entries)
        kept = [(key, value, time_of(value) if timed else None) for key, value in entries if value is not None]
        deleted = [(key,) for key, value in entries if value is None]
        if kept:
            self._connection.executemany(
                f"INSERT INTO {table} VALUES (?, ?, ?) ON CONFLICT (k) DO UPDATE SET v = excluded.v, t = excluded.t",  # noqa: S608
                kept,
            )
        if deleted:
            self._connection.executemany(f"DELETE FROM {table} WHERE k = ?", deleted)  # noqa: S608

    def _open(self) -> None:
        # One thread uses it at a time, and not always the same: SQLite's own lock is enough.
        self._connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        run = self._connection.execute
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")
        run(f"PRAGMA cache_size = -{_CACHE_KIB}")
        shape = msgspec.json.encode([FORMAT, sorted(self._stores.items())]).decode()
        run("CREATE TABLE IF NOT EXISTS shape (shape TEXT NOT NULL)")
        found = run("SELECT shape FROM shape").fetchone()
        if found is not None and found[0] != shape:
            raise sqlite3.DatabaseError(f"it is {found[0]}, not {shape}")
        run("BEGIN IMMEDIATE")
        run("CREATE TABLE IF NOT EXISTS marks (store TEXT PRIMARY KEY, mark BLOB NOT NULL) WITHOUT ROWID")
        for name, table in self._tables.items():
            run(f"CREATE TABLE IF NOT EXISTS {table} (k BLOB PRIMARY KEY, v BLOB NOT NULL, t INTEGER) WITHOUT ROWID")
            if self._stores[name]:
                run(f"CREATE INDEX IF NOT EXISTS {table}_t ON {table} (t)")
        if found is None:
            run("INSERT INTO shape VALUES (?)", (shape,))
        run("COMMIT")

    def _damaged(self, error: sqlite3.DatabaseError) -> CorruptData:
        """What cannot be read is not kept: the next start builds it from the changelog."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        self._remove()
        return CorruptData(f"the local copy of state is removed: {error}", place=str(self.path))

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
