"""The same rows by a SQL effect: the inbox keeps repetitions out, and the business table needs no unique index."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bench.sql.work import BATCH, batches
from sqlalchemy import Connection, Engine

from tallystick.boundary import SqlEffect
from tallystick.boundary.driver import driver
from tallystick.pipeline.records import Record


def copied(connection: Connection, records: Sequence[Record]) -> None:
    with driver(connection) as raw, raw.cursor().copy("COPY bare FROM STDIN (FORMAT BINARY)") as rows:
        rows.set_types(["text", "int8"])
        for record in records:
            rows.write_row((record.event_id, record.offset))


def inserted(connection: Connection, records: Sequence[Record]) -> None:
    with driver(connection) as raw:
        raw.execute(
            "INSERT INTO bare SELECT * FROM unnest(%s::text[], %s::bigint[])",
            ([record.event_id for record in records], [record.offset for record in records]),
        )


def inserted_unique(connection: Connection, records: Sequence[Record]) -> None:
    with driver(connection) as raw:
        raw.execute(
            "INSERT INTO hand SELECT * FROM unnest(%s::text[], %s::bigint[])",
            ([record.event_id for record in records], [record.offset for record in records]),
        )


def many(connection: Connection, records: Sequence[Record]) -> None:
    with driver(connection) as raw:
        raw.executemany("INSERT INTO bare VALUES (?, ?)", [(record.event_id, record.offset) for record in records])


def one(connection: Connection, record: Record) -> None:
    connection.exec_driver_sql("INSERT INTO bare VALUES (%s, %s)", (record.event_id, record.offset))


def one_by_driver(connection: Connection, record: Record) -> None:
    with driver(connection) as raw:
        raw.execute("INSERT INTO bare VALUES (%s, %s)", (record.event_id, record.offset))


def collected(connection: Connection, records: Sequence[Record]) -> None:
    connection.exec_driver_sql(
        "INSERT INTO bare VALUES (%s, %s)", [(record.event_id, record.offset) for record in records]
    )


def effect(handler: Any, *, size: int = BATCH) -> Callable[[Engine, Sequence[Record]], None]:
    def run(engine: Engine, records: Sequence[Record]) -> None:
        effect = SqlEffect(engine, handler, name="bench.effect")
        for batch in batches(records, size):
            effect.process(batch)

    return run
