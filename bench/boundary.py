"""SQL effects beside statements written by hand: the same rows in the same database, in turns.

``python -m bench.boundary --only PostgreSQL``. The work: small events, already read and parsed, become one row each. By
hand, the business table has a unique index on the event id, and ON CONFLICT keeps repetitions out; with the inbox that
index is not needed, because the inbox has it. Each round runs each way once, every round beginning with another one;
the first round warms up and is not counted. Printed: medians of events per second, and ratios to the first row.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import structlog
from bench.speed import report
from sqlalchemy import Connection, Engine, text

from tallystick.boundary import PerBatch, SqlEffect, create_tables, open_database
from tallystick.boundary.driver import driver
from tallystick.ids import deterministic_id
from tallystick.pipeline.records import Record
from tallystick.servers import PostgreSQL

BATCH: Final = 5_000
LOOP_BATCH: Final = 500

Way = Callable[[Engine, Sequence[Record]], None]


@dataclass(frozen=True, slots=True)
class Contest:
    """Ways of writing the same events; the first is what the others are held against."""

    title: str
    database: str
    events: int
    ways: Mapping[str, Way]


def batches(records: Sequence[Record], size: int = BATCH) -> Iterator[Sequence[Record]]:
    for start in range(0, len(records), size):
        yield records[start : start + size]


@contextmanager
def plain(engine: Engine) -> Iterator[Any]:
    """The driver's own connection, as a program has it that knows nothing of SQLAlchemy."""
    with engine.connect() as connection, driver(connection) as raw:
        yield raw


# By hand, PostgreSQL.


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


# Ours.


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


def ours(handler: Any, *, size: int = BATCH) -> Way:
    def run(engine: Engine, records: Sequence[Record]) -> None:
        effect = SqlEffect(engine, handler, name="bench.effect")
        for batch in batches(records, size):
            effect.process(batch)

    return run


def many_by_hand(engine: Engine, records: Sequence[Record]) -> None:
    with plain(engine) as raw:
        for batch in batches(records):
            raw.execute("BEGIN IMMEDIATE")
            raw.executemany(
                "INSERT INTO hand VALUES (?, ?) ON CONFLICT DO NOTHING",
                [(record.event_id, record.offset) for record in batch],
            )
            raw.execute("COMMIT")


def many_at_once_by_hand(engine: Engine, records: Sequence[Record]) -> None:
    with plain(engine) as raw:
        raw.execute("BEGIN IMMEDIATE")
        raw.executemany(
            "INSERT INTO hand VALUES (?, ?) ON CONFLICT DO NOTHING",
            [(record.event_id, record.offset) for record in records],
        )
        raw.execute("COMMIT")


def contests(scale: float) -> list[Contest]:
    return [
        Contest(
            "PostgreSQL, batches of 5,000",
            "postgresql",
            int(100_000 * scale),
            {
                "by hand: INSERT SELECT unnest ON CONFLICT RETURNING": unnest,
                "by hand: executemany": executemany,
                "by hand: binary COPY, no unique index": copy,
                "Tallystick, rows by unnest": ours(PerBatch(inserted)),
                "Tallystick, rows by COPY": ours(PerBatch(copied)),
                "Tallystick, rows by unnest, a second unique index": ours(PerBatch(inserted_unique)),
            },
        ),
        Contest(
            "PostgreSQL, event by event, transactions of 500",
            "postgresql",
            int(20_000 * scale),
            {"by hand: INSERT ON CONFLICT in a loop": loop, "Tallystick, a handler": ours(one, size=LOOP_BATCH)},
        ),
        Contest(
            "SQLite, batches of 5,000",
            "sqlite",
            int(200_000 * scale),
            {"by hand: executemany, unique index": many_by_hand, "Tallystick, a batch function": ours(PerBatch(many))},
        ),
        Contest(
            "SQLite, one batch",
            "sqlite",
            int(200_000 * scale),
            {
                "by hand: executemany, unique index": many_at_once_by_hand,
                "Tallystick, a batch function": ours(PerBatch(many), size=10**9),
            },
        ),
    ]


def replays(scale: float) -> list[tuple[str, str, int, Any]]:
    events = int(1_000_000 * scale)
    return [
        ("PostgreSQL, replay, batches of 5,000", "postgresql", events, PerBatch(inserted)),
        ("SQLite, replay, batches of 5,000", "sqlite", events, PerBatch(many)),
    ]


def events(count: int) -> list[Record]:
    return [
        Record(
            topic="orders",
            partition=number % 4,
            offset=number // 4,
            key=b"customer-17",
            value=b'{"order": %d, "customer": 17, "amount_minor": 1999, "currency": "EUR"}' % number,
            headers=(),
            timestamp_ms=1_700_000_000_000,
            event_id=deterministic_id("bench.boundary", number),
        )
        for number in range(count)
    ]


@contextmanager
def tables(site: Site, database: str) -> Iterator[Engine]:
    """An engine over empty tables."""
    with site.database(database) as engine:
        create_tables(engine)
        with engine.begin() as connection:
            for statement in (
                "CREATE TABLE hand (id TEXT NOT NULL, amount BIGINT NOT NULL)",
                "CREATE UNIQUE INDEX hand_id ON hand (id)",
                "CREATE TABLE bare (id TEXT NOT NULL, amount BIGINT NOT NULL)",
            ):
                connection.execute(text(statement))
        yield engine


class Site:
    """Where the databases come from: PostgreSQL with its defaults, SQLite as ``open_database`` sets it."""

    def __init__(self, server: PostgreSQL) -> None:
        self._server = server
        self._number = 0

    @contextmanager
    def database(self, kind: str) -> Iterator[Engine]:
        if kind == "sqlite":
            with TemporaryDirectory() as folder:
                engine = open_database(f"sqlite:///{Path(folder) / 'bench.sqlite'}")
                yield engine
                engine.dispose()
            return
        self._number += 1
        name = f"bench_{self._number}"
        admin = open_database(self._server.url)
        self._admin(admin, f"CREATE DATABASE {name}")
        engine = open_database(self._server.url_of(name))
        yield engine
        engine.dispose()
        self._admin(admin, f"DROP DATABASE {name}")
        self._admin(admin, "CHECKPOINT")
        admin.dispose()

    @staticmethod
    def _admin(engine: Engine, statement: str) -> None:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(statement))


def run(contest: Contest, site: Site, rounds: int) -> dict[str, float]:
    """Events per second, the median of the rounds."""
    records = events(contest.events)
    figures: dict[str, list[float]] = {name: [] for name in contest.ways}
    names = list(contest.ways)
    for number in range(rounds + 1):
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            with tables(site, contest.database) as engine:
                began = time.perf_counter()
                contest.ways[name](engine, records)
                took_s = time.perf_counter() - began
            if number > 0:
                figures[name].append(len(records) / took_s)
    return {name: statistics.median(values) for name, values in figures.items()}


def run_replay(kind: str, count: int, handler: Any, site: Site, rounds: int) -> dict[str, float]:
    records = events(count)
    way = ours(handler)
    figures: dict[str, list[float]] = {"the first time": [], "again": []}
    for _ in range(rounds):
        with tables(site, kind) as engine:
            for values in figures.values():
                began = time.perf_counter()
                way(engine, records)
                values.append(len(records) / (time.perf_counter() - began))
    return {name: statistics.median(values) for name, values in figures.items()}


def table(title: str, figures: Mapping[str, float]) -> str:
    first = next(iter(figures.values()))
    lines = [f"| {title} | events/s | ratio |", "| --- | --- | --- |"]
    lines += [f"| {name} | {value:,.0f} | {value / first:.2f} |" for name, value in figures.items()]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each way runs (5)")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of events (1)")
    parser.add_argument("--only", metavar="TEXT", default="", help="contests whose title has this in it")
    options = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with PostgreSQL() as server:
        site = Site(server)
        print(f"Medians of {options.rounds} rounds. {report.machine()}\n", flush=True)
        for contest in contests(options.scale):
            if options.only in contest.title:
                print(table(contest.title, run(contest, site, options.rounds)), end="\n\n", flush=True)
        for title, kind, count, handler in replays(options.scale):
            if options.only in title:
                print(table(title, run_replay(kind, count, handler, site, options.rounds)), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
