"""The inbox as it grows: insert rate and size at each mark, and what forgetting costs and gives back.

``python -m bench.inbox_growth --rows 1000000 10000000``. PostgreSQL with its defaults (128 MB of shared buffers),
batches of 5,000 events, no business rows, so that only the inbox is measured. Each printed row covers the last 100,000
events before its mark. ``--forget`` deletes the older half in the end, as ``tallystick inbox forget`` does.

``--filled 99000000`` has the server write so many rows before, and their index after them, which takes a tenth of the
time: a hundred million come within minutes. Such an index is packed; what is added afterwards splits its pages.

``--partitions 16`` splits the table by the hash of the event id. By time it cannot be split: a unique key of
PostgreSQL holds within one partition, and an event that came again in another month would count as new.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from typing import Final

import structlog
from bench.speed import report
from bench.sql.site import Site
from bench.sql.work import BATCH, events
from rich.progress import track
from sqlalchemy import Engine, text

from tallystick.boundary import PerBatch, SqlEffect
from tallystick.boundary.retention import forget
from tallystick.servers import PostgreSQL

_WINDOW = 100_000
# Of a table without partitions, pg_partition_tree says nothing, not even itself.
_SIZES = """SELECT
    coalesce((SELECT sum(pg_table_size(relid)) FROM pg_partition_tree('tallystick_inbox')),
        pg_table_size('tallystick_inbox')),
    coalesce((SELECT sum(pg_relation_size(relid)) FROM pg_partition_tree('tallystick_inbox_pk')),
        pg_relation_size('tallystick_inbox_pk'))"""
_PARTED = """CREATE TABLE tallystick_inbox
    (LIKE whole INCLUDING DEFAULTS, CONSTRAINT tallystick_inbox_pk PRIMARY KEY (scope, event_id))
    PARTITION BY HASH (event_id)"""
_PART = """CREATE TABLE part_{number} PARTITION OF tallystick_inbox
    FOR VALUES WITH (MODULUS {partitions}, REMAINDER {number})"""

_FILL: Final = """INSERT INTO tallystick_inbox
    (scope, event_id, body_hash, topic, partition, record_offset, created_at_ms)
SELECT 'bench.growth', md5(number::text)::uuid::text, encode(sha256(number::text::bytea), 'hex'), 'orders', number % 4,
    number / 4, 1700000000000
FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS number"""
_FILL_BATCH: Final = 5_000_000


def fill(engine: Engine, rows: int) -> None:
    """As if the first ``rows`` events had been processed, under ids of the same length and spread."""
    began = time.perf_counter()
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE tallystick_inbox DROP CONSTRAINT tallystick_inbox_pk"))
    for first in track(range(0, rows, _FILL_BATCH), "filling", transient=True):
        with engine.begin() as connection:
            connection.execute(text(_FILL), {"first": first, "last": min(first + _FILL_BATCH, rows) - 1})
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL maintenance_work_mem = '1GB'"))
        connection.execute(
            text("ALTER TABLE tallystick_inbox ADD CONSTRAINT tallystick_inbox_pk PRIMARY KEY (scope, event_id)")
        )
        connection.execute(text("ANALYZE tallystick_inbox"))
    table, index = sizes(engine)
    print(f"{rows:,} rows filled in {time.perf_counter() - began:,.0f} s: table {table / 2**20:,.0f} MiB, packed index "
          f"{index / 2**20:,.0f} MiB\n", flush=True)  # fmt: skip


def grow(engine: Engine, site: Site, marks: Sequence[int], *, done: int = 0) -> None:
    effect = SqlEffect(engine, PerBatch(lambda _connection, _records: None), name="bench.growth")
    print("| rows | events/s | processor µs/event | table, MiB | index, MiB | bytes/row |")
    print("| --- | --- | --- | --- | --- | --- |")
    for mark in sorted(marks):
        while done < mark:
            records = events(min(_WINDOW, mark - done), first=done)
            began = site.now()
            for start in range(0, len(records), BATCH):
                effect.process(records[start : start + BATCH])
            took = site.now() - began
            done += len(records)
        table, index = sizes(engine)
        print(
            f"| {done:,} | {len(records) / took.wall_s:,.0f} | {took.processor_s / len(records) * 1e6:.1f} "
            f"| {table / 2**20:,.0f} | {index / 2**20:,.0f} | {(table + index) / done:,.0f} |",
            flush=True,
        )


def sizes(engine: Engine) -> tuple[int, int]:
    with engine.begin() as connection:
        row = connection.execute(text(_SIZES)).one()
        return int(row[0]), int(row[1])


def split(engine: Engine, partitions: int) -> None:
    """The same table with the same key, in parts."""
    with engine.begin() as connection:
        for statement in (
            "ALTER TABLE tallystick_inbox RENAME TO whole",
            "ALTER TABLE whole RENAME CONSTRAINT tallystick_inbox_pk TO whole_pk",
            _PARTED,
            *(_PART.format(number=number, partitions=partitions) for number in range(partitions)),
        ):
            connection.execute(text(statement))


def forget_half(engine: Engine, rows: int) -> None:
    """By offset: the events were spread over four partitions."""
    committed = {("orders", partition): rows // 8 for partition in range(4)}
    began = time.perf_counter()
    count = forget(engine, scope="bench.growth", committed=committed, before_ms=time.time_ns() // 1_000_000 + 1)
    took_s = time.perf_counter() - began
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM tallystick_inbox"))
    table, index = sizes(engine)
    print(f"\nForgetting {count:,} rows: {count / took_s:,.0f} rows/s. After VACUUM: table {table / 2**20:,.0f} MiB, "
          f"index {index / 2**20:,.0f} MiB; the space is used again by new rows.")  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000], help="marks (1000000)")
    parser.add_argument("--filled", type=int, default=0, help="rows that the server writes before (0)")
    parser.add_argument("--partitions", type=int, default=0, help="split the table by hash into so many (0: not)")
    parser.add_argument("--forget", action="store_true", help="forget the older half in the end")
    options = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with PostgreSQL() as server:
        site = Site(server)
        print(f"{report.machine()}\n", flush=True)
        with site.tables("postgresql") as engine:
            if options.partitions:
                split(engine, options.partitions)
            if options.filled:
                fill(engine, options.filled)
            grow(engine, site, options.rows, done=options.filled)
            if options.forget:
                forget_half(engine, max(options.rows))


if __name__ == "__main__":
    main()
