"""Rows written by hand: what a program does that knows the database, and no inbox.

The business table has a unique index on the event id, and ON CONFLICT keeps repetitions out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from bench.sql.work import LOOP_BATCH, batches
from sqlalchemy import Engine

from tallystick.boundary.driver import driver
from tallystick.pipeline.records import Record


@contextmanager
def plain(engine: Engine) -> Iterator[Any]:
    """The driver's own connection, as a program has it that knows nothing of SQLAlchemy."""
    with engine.connect() as connection, driver(connection) as raw:
        yield raw


def unnest(engine: Engine, records: Sequence[Record]) -> None:
    with plain(engine) as raw:
        for batch in batches(records):
            rows = raw.execute(
                "INSERT INTO hand SELECT * FROM unnest(%s::text[], %s::bigint[]) ON CONFLICT DO NOTHING RETURNING id",
                ([record.event_id for record in batch], [record.offset for record in batch]),
            ).fetchall()
            raw.commit()
            if len(rows) != len(batch):
                raise AssertionError("a row was there already")


def copy(engine: Engine, records: Sequence[Record]) -> None:
    with plain(engine) as raw:
        for batch in batches(records):
            with raw.cursor().copy("COPY bare FROM STDIN (FORMAT BINARY)") as rows:
                rows.set_types(["text", "int8"])
                for record in batch:
                    rows.write_row((record.event_id, record.offset))
            raw.commit()


def executemany(engine: Engine, records: Sequence[Record]) -> None:
    with plain(engine) as raw:
        for batch in batches(records):
            raw.cursor().executemany(
                "INSERT INTO hand VALUES (%s, %s) ON CONFLICT DO NOTHING",
                [(record.event_id, record.offset) for record in batch],
            )
            raw.commit()


def loop(engine: Engine, records: Sequence[Record]) -> None:
    with plain(engine) as raw:
        for batch in batches(records, LOOP_BATCH):
            for record in batch:
                raw.execute("INSERT INTO hand VALUES (%s, %s) ON CONFLICT DO NOTHING", (record.event_id, record.offset))
            raw.commit()


def loop_by_sqlalchemy(engine: Engine, records: Sequence[Record]) -> None:
    with engine.connect() as connection:
        for batch in batches(records, LOOP_BATCH):
            with connection.begin():
                for record in batch:
                    connection.exec_driver_sql(
                        "INSERT INTO hand VALUES (%s, %s) ON CONFLICT DO NOTHING", (record.event_id, record.offset)
                    )


@contextmanager
def sqlite(engine: Engine) -> Iterator[sqlite3.Connection]:
    """As a program opens it that wants speed: write-ahead log, ``synchronous=NORMAL``, the rest as it comes."""
    with closing(sqlite3.connect(str(engine.url.database), isolation_level=None)) as raw:
        raw.execute("PRAGMA journal_mode=WAL")
        raw.execute("PRAGMA synchronous=NORMAL")
        yield raw


def many(engine: Engine, records: Sequence[Record]) -> None:
    with sqlite(engine) as raw:
        for batch in batches(records):
            raw.execute("BEGIN IMMEDIATE")
            raw.executemany(
                "INSERT INTO hand VALUES (?, ?) ON CONFLICT DO NOTHING",
                [(record.event_id, record.offset) for record in batch],
            )
            raw.execute("COMMIT")
