"""SQL effects beside statements written by hand: the same rows in the same database, in turns.

``python -m bench.boundary --only PostgreSQL``. The work: small events, already read, become one row each. By hand, the
business table has a unique index on the event id, and ON CONFLICT keeps repetitions out; with the inbox it needs none.
Each round runs each way once, every round beginning with another one; the first round warms up and is not counted.
Printed: medians of events per second and of processor time (program and server), and their ratios to the first row.
"""

from __future__ import annotations

import argparse
import logging
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog
from bench.speed import report
from bench.sql import hand, ours
from bench.sql.site import Cost, Site
from bench.sql.work import LOOP_BATCH, events
from sqlalchemy import Engine

from tallystick.boundary import PerBatch
from tallystick.pipeline.records import Record
from tallystick.servers import PostgreSQL

Way = Callable[[Engine, Sequence[Record]], None]


@dataclass(frozen=True, slots=True)
class Contest:
    """Ways of writing the same events; the first is what the others are held against."""

    title: str
    database: str
    events: int
    ways: Mapping[str, Way]


def contests(scale: float) -> list[Contest]:
    return [
        Contest(
            "PostgreSQL, batches of 5,000",
            "postgresql",
            int(100_000 * scale),
            {
                "by hand: INSERT SELECT unnest ON CONFLICT RETURNING": hand.unnest,
                "by hand: executemany": hand.executemany,
                "by hand: binary COPY, no unique index": hand.copy,
                "Tallystick, rows by unnest": ours.effect(PerBatch(ours.inserted)),
                "Tallystick, rows by COPY": ours.effect(PerBatch(ours.copied)),
                "Tallystick, rows by unnest, a second unique index": ours.effect(PerBatch(ours.inserted_unique)),
            },
        ),
        Contest(
            "PostgreSQL, event by event, transactions of 500",
            "postgresql",
            int(20_000 * scale),
            {
                "by hand: INSERT ON CONFLICT in a loop": hand.loop,
                "by hand: the same loop, SQLAlchemy's statements": hand.loop_by_sqlalchemy,
                "Tallystick, a handler, SQLAlchemy's statements": ours.effect(ours.one, size=LOOP_BATCH),
                "Tallystick, a handler, the driver's statements": ours.effect(ours.one_by_driver, size=LOOP_BATCH),
                "Tallystick, a batch function with one list of rows": ours.effect(
                    PerBatch(ours.collected), size=LOOP_BATCH
                ),
            },
        ),
        Contest(
            "SQLite, batches of 5,000",
            "sqlite",
            int(200_000 * scale),
            {
                "by hand: executemany, unique index": hand.many,
                "Tallystick, a batch function": ours.effect(PerBatch(ours.many)),
            },
        ),
    ]


def run(contest: Contest, site: Site, rounds: int) -> dict[str, Cost]:
    records = events(contest.events)
    costs: dict[str, list[Cost]] = {name: [] for name in contest.ways}
    names = list(contest.ways)
    for number in range(rounds + 1):
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            with site.tables(contest.database) as engine:
                began = site.now()
                contest.ways[name](engine, records)
                took = site.now() - began
            if number > 0:
                costs[name].append(took)
    return _medians(costs)


def run_replay(
    kind: str, records: Sequence[Record], ways: Mapping[str, Way], *, site: Site, rounds: int
) -> dict[str, Cost]:
    """Each way reads the same events, one after the other: for the first of them they are new."""
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    for _ in range(rounds):
        with site.tables(kind) as engine:
            for name, way in ways.items():
                began = site.now()
                way(engine, records)
                costs[name].append(site.now() - began)
    return _medians(costs)


def _medians(costs: Mapping[str, Sequence[Cost]]) -> dict[str, Cost]:
    return {
        name: Cost(
            statistics.median(cost.wall_s for cost in values), statistics.median(cost.processor_s for cost in values)
        )
        for name, values in costs.items()
    }


def table(title: str, count: int, costs: Mapping[str, Cost]) -> str:
    first = next(iter(costs.values()))
    lines = [f"| {title} | events/s | ratio | processor µs/event | ratio |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {name} | {count / cost.wall_s:,.0f} | {first.wall_s / cost.wall_s:.2f} "
        f"| {cost.processor_s / count * 1e6:.1f} | {first.processor_s / cost.processor_s:.2f} |"
        for name, cost in costs.items()
    ]
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
                print(table(contest.title, contest.events, run(contest, site, options.rounds)), end="\n\n", flush=True)
        for kind, way in (("postgresql", ours.inserted), ("sqlite", ours.many)):
            title, records = f"{kind}: a replay, batches of 5,000", events(int(1_000_000 * options.scale))
            if options.only in title:
                ways = {
                    "the first time": ours.effect(PerBatch(way)),
                    "again": ours.effect(PerBatch(way)),
                    "again, in batches of 4,000": ours.effect(PerBatch(way), size=4_000),
                }
                costs = run_replay(kind, records, ways, site=site, rounds=options.rounds)
                print(table(title, len(records), costs), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
