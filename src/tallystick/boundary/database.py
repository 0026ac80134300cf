"""Engines with the settings that the boundary relies on.

Owns: how a connection to SQLite or PostgreSQL is opened, begun and told to read only. Must not know: tables.

SQLite is written by several processes at once: write-ahead log, a busy timeout instead of an error, and every
writing transaction begins with ``BEGIN IMMEDIATE``: one that begins deferred and upgrades later fails with
``SQLITE_BUSY`` at once, whatever the timeout. ``synchronous=NORMAL`` loses nothing at ``kill -9``; a power cut may
take the last commits with it, and ``FULL`` is for that.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from tallystick.errors import ConfigurationError

SqliteSynchronous = Literal["NORMAL", "FULL"]

BUSY_TIMEOUT_MS: Final = 30_000
WAL_PAGES: Final = 8_000
"""Written to the log, 4 KiB each, before they are copied into the database: with SQLite's 1,000 a batch of 5,000 rows
under random ids is written twice."""
CACHE_KIB: Final = 16_000
"""Pages kept in memory: with SQLite's 2,000 a batch of 5,000 rows under random ids is written before it commits, and
again when it does."""
_READ_ONLY: Final = "tallystick_read_only"
_WAL_TRIES: Final = 100
_SQLITE_AWAY: Final = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN}
)


_ADDRESSES: Final = "Use sqlite:///path or postgresql://user@host/database"


def open_database(
    url: str | URL, *, synchronous: SqliteSynchronous = "NORMAL", pool_size: int = 5, must_exist: bool = False
) -> Engine:
    """An engine for ``sqlite:///path`` or ``postgresql://...`` (psycopg 3), with this module's settings.

    One engine serves one process: open it after a fork, not before. Raises ``ConfigurationError`` for any other
    database, for SQLite in memory, which no second process could see, and with ``must_exist`` for a SQLite file that is
    not there: whoever only looks must not make one.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigurationError(f"{url!r} is no database address", remedy=_ADDRESSES) from error
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        return _open_sqlite(parsed, synchronous=synchronous, pool_size=pool_size, must_exist=must_exist)
    if backend == "postgresql":
        return create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            pool_size=pool_size,
            isolation_level="READ COMMITTED",  # an insert that waited must then see the row that it waited for
        )
    raise ConfigurationError(f"database {backend!r} is not supported", remedy=_ADDRESSES)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads: on SQLite it takes no write lock."""
    with engine.connect().execution_options(**{_READ_ONLY: True}) as connection, connection.begin():
        yield connection


def is_away(error: DBAPIError) -> bool:
    """Whether the database is at fault, not the statement: connection lost or refused, locked, full.

    Nobody may blame a record for it. After a lost connection it is not known whether a COMMIT arrived.
    """
    if error.connection_invalidated:
        return True
    if isinstance(error.orig, sqlite3.Error):
        return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _SQLITE_AWAY
    # psycopg sorts all of these under one class: deadlock, shutdown, no connection, no space (SQLSTATE 08, 40, 53, 57)
    return isinstance(error, OperationalError)


def _open_sqlite(url: URL, *, synchronous: SqliteSynchronous, pool_size: int, must_exist: bool) -> Engine:
    if not url.database or url.database == ":memory:":
        raise ConfigurationError(
            "SQLite in memory cannot be shared by processes, nor survive one", remedy="Use sqlite:///path"
        )
    if must_exist and not Path(url.database).is_file():
        raise ConfigurationError(
            f"there is no database file {url.database}",
            remedy="Look at the path: sqlite:///here.sqlite is relative, sqlite:////there/here.sqlite is not",
        )
    Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, pool_size=pool_size, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})

    @event.listens_for(engine, "connect")
    def _settings(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, below
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        _enter_wal(cursor)
        cursor.execute(f"PRAGMA synchronous={synchronous}")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES}")
        cursor.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        read_only = connection.get_execution_options().get(_READ_ONLY, False)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _enter_wal(cursor: sqlite3.Cursor) -> None:
    """Switch to the write-ahead log; the switch itself ignores the busy timeout, so it is tried again."""
    for _ in range(_WAL_TRIES):
        try:
            if cursor.execute("PRAGMA journal_mode=WAL").fetchone()[0] == "wal":
                return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
        time.sleep(0.05)
    raise ConfigurationError("the SQLite database does not enter write-ahead logging", remedy="Use a local file system")
