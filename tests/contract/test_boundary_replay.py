"""A replay is read where its rows stand, beside those of the batch before, and finds what a look by id would find."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import pytest
from sqlalchemy import Connection, Engine, text
from tests.support.boundary import emitted, record
from tests.support.databases import fresh_postgres_database

from tallystick.boundary import SqlEffect, create_tables, open_database, take_ownership
from tallystick.boundary.handlers import Handler
from tallystick.boundary.inbox_postgresql import _ALL_NEAR
from tallystick.boundary.inbox_rows import Arrival, InboxRows, Met, Near
from tallystick.boundary.stretches import Stretch, condition
from tallystick.errors import FencedError
from tallystick.ids import derived_id
from tallystick.pipeline.records import Output, Record
from tallystick.servers import PostgreSQL


def silent(connection: Connection, record: Record) -> Iterable[Output]:
    return ()


def telling(connection: Connection, record: Record) -> Iterable[Output]:
    """Of every third record there is an output."""
    if record.offset % 3 == 0:
        yield Output("told", None, b"%d" % record.offset, derived_id(record.event_id, "tell", 0))


@dataclass
class Watched:
    """Rows that write down how many events were looked up by id, and for how many rows something was found beside."""

    rows: InboxRows
    by_id: list[int] = field(default_factory=list)
    beside: list[int] = field(default_factory=list)

    def known(self, connection: Connection, scope: str, arrivals: Sequence[Arrival]) -> Met:
        self.by_id.append(len(arrivals))
        return self.rows.known(connection, scope, arrivals)

    def near(self, connection: Connection, scope: str, stretches: Sequence[Stretch], *, start: int, most: int) -> Near:
        found = self.rows.near(connection, scope, stretches, start=start, most=most)
        self.beside.append(len(found.entries))
        return found

    def __getattr__(self, name: str) -> object:
        return getattr(self.rows, name)


def watched(effect: SqlEffect) -> Watched:
    rows = Watched(effect._batch.rows)
    effect._batch = replace(effect._batch, rows=cast("InboxRows", rows))
    return rows


def cut(records: Sequence[Record], size: int) -> list[Sequence[Record]]:
    return [records[start : start + size] for start in range(0, len(records), size)]


def spread(count: int, *, partitions: int = 4) -> list[Record]:
    """Events in several partitions, whose offsets have gaps, as those of transactions have."""
    return [
        replace_record(record(number), partition=number % partitions, offset=number // partitions * 2)
        for number in range(count)
    ]


def replace_record(old: Record, *, partition: int, offset: int) -> Record:
    return Record(old.topic, partition, offset, old.key, old.value, old.headers, old.timestamp_ms, old.event_id)


@pytest.mark.parametrize("handler", [silent, telling])
@pytest.mark.parametrize("size", [50, 40, 120])
def test_a_replay_looks_up_its_first_batches_by_id_and_reads_on_from_there(
    engine: Engine, handler: Handler, size: int
) -> None:
    records = spread(1_200)
    first = SqlEffect(engine, handler, name="book")
    gave = [outputs for batch in cut(records, 50) for outputs in emitted(first.process(batch))]
    again = SqlEffect(engine, handler, name="book")
    rows = watched(again)
    given = [outputs for batch in cut(records, size) for outputs in emitted(again.process(batch))]
    assert given == gave
    assert (again.counts.replayed, again.counts.processed) == (1_200, 0)
    assert sum(rows.by_id) <= 5 * size, "of the first batches only"
    assert sum(rows.beside) >= 1_200 - 5 * size


def test_another_effects_rows_in_between_are_nobodys(engine: Engine) -> None:
    records = spread(400)
    one, two = SqlEffect(engine, telling, name="one"), SqlEffect(engine, silent, name="two")
    for batch in cut(records, 50):
        one.process(batch)
        two.process(batch)
    again = SqlEffect(engine, silent, name="two")
    rows = watched(again)
    assert [emitted(again.process(batch)) for batch in cut(records, 50)] == [[()] * 50] * 8
    assert (again.counts.replayed, sum(rows.beside) >= 200) == (400, True)


def test_a_row_that_is_forgotten_during_a_replay_makes_its_event_new(engine: Engine) -> None:
    records = spread(400)
    for batch in cut(records, 50):
        SqlEffect(engine, silent, name="book").process(batch)
    again = SqlEffect(engine, silent, name="book")
    for number, batch in enumerate(cut(records, 50)):
        if number == 5:
            with engine.begin() as connection:
                connection.execute(
                    text("DELETE FROM tallystick_inbox WHERE event_id = :id"), {"id": batch[17].event_id}
                )
        again.process(batch)
    assert (again.counts.replayed, again.counts.processed) == (399, 1)


def test_among_rows_that_stand_beside_a_conflict_and_a_duplicate_are_found_by_id(engine: Engine) -> None:
    records = [record(number) for number in range(400)]
    for batch in cut(records, 50):
        SqlEffect(engine, telling, name="book").process(batch)
    again = SqlEffect(engine, telling, name="book")
    records[210] = record(210, b"another body")
    records[220] = record(7, offset=220)
    records[230] = record(229, offset=230)  # twice in one batch
    given = [outputs for batch in cut(records, 50) for outputs in emitted(again.process(batch))]
    assert (again.counts.replayed, again.counts.conflicts, again.counts.duplicates) == (397, 1, 2)
    assert [number for number, outputs in enumerate(given) if outputs] == [
        number for number in range(0, 400, 3) if number != 210
    ]


@pytest.mark.postgres
def test_postgresql_reads_the_pages_that_it_is_told_though_it_knows_the_table_of_yesterday(
    postgres_server: PostgreSQL,
) -> None:
    text, parameters = condition([Stretch("orders", partition, 0, 100) for partition in range(20)])
    asked = _ALL_NEAR.format(stretches=text.replace("?", "%s"))
    with fresh_postgres_database(postgres_server) as url:
        engine = open_database(url)
        create_tables(engine)
        with engine.begin() as connection:
            connection.exec_driver_sql(_ROWS, ("another",))
            connection.exec_driver_sql("ANALYZE tallystick_inbox")
            connection.exec_driver_sql(_ROWS, ("book",))
        plans = [_plan(engine, asked, ("(200,0)", "(300,0)", "book", *parameters, 500))]
        with engine.begin() as connection:
            connection.exec_driver_sql("ANALYZE tallystick_inbox")
        plans.append(_plan(engine, asked, ("(200,0)", "(300,0)", "book", *parameters, 500)))
        engine.dispose()
    assert all("Tid Range Scan on tallystick_inbox" in plan for plan in plans), "\n\n".join(plans)


_ROWS = """INSERT INTO tallystick_inbox
SELECT %s, number::text, 'hash', NULL, 'orders', 0, number, 0 FROM generate_series(1, 20000) AS number"""


def _plan(engine: Engine, statement: str, parameters: tuple[str | int, ...]) -> str:
    with engine.begin() as connection:
        return "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {statement}", parameters))


def test_a_zombie_that_reads_beside_is_fenced_as_one_that_inserts(engine: Engine) -> None:
    records = spread(200)
    claim = take_ownership(engine, "book/orders/0")
    effect = SqlEffect(engine, silent, name="book", owner=claim)
    for batch in [*cut(records, 50), *cut(records, 50)]:
        effect.process(batch)
    assert effect._trail.start() is not None
    take_ownership(engine, "book/orders/0")
    with pytest.raises(FencedError):
        effect.process(records[:50])


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_read_again_in_whatever_order_is_answered_as_a_dictionary_would(engine: Engine, seed: int) -> None:
    draw = random.Random(seed)
    effect = SqlEffect(engine, telling, name="book")
    log = spread(300, partitions=3)
    for _ in range(20):  # sent again, with their bodies and with others
        at, of = draw.randrange(300), draw.randrange(300)
        value = draw.choice([log[of].value, b"another"])
        place = log[at]
        log[at] = Record(
            place.topic, place.partition, place.offset, b"k", value, (), place.timestamp_ms, log[of].event_id
        )
    known: dict[str, tuple[bytes | None, tuple[int, int]]] = {}
    expected = {"processed": 0, "replayed": 0, "duplicates": 0, "conflicts": 0}
    position = 0
    for _ in range(60):
        if draw.random() < 0.15:
            position = draw.randrange(300)  # somebody sets the group back, or forward
        size = draw.choice([1, 7, 25, 25, 25, 60])
        batch, position = log[position : position + size], min(position + size, 299)
        if draw.random() < 0.1 and known:
            gone = draw.choice(sorted(known))
            del known[gone]
            with engine.begin() as connection:
                connection.execute(text("DELETE FROM tallystick_inbox WHERE event_id = :id"), {"id": gone})
        answers = emitted(effect.process(batch))
        for each, outputs in zip(batch, answers, strict=True):
            here = each.partition, each.offset
            if each.event_id not in known:
                known[each.event_id] = each.value, here
                kind = "processed"
            else:
                body, there = known[each.event_id]
                kind = "conflicts" if body != each.value else "replayed" if there == here else "duplicates"
            expected[kind] += 1
            told = kind in ("processed", "replayed") and each.offset % 3 == 0
            assert [output.value for output in outputs] == ([b"%d" % each.offset] if told else []), f"seed {seed}"
    counts = effect.counts
    assert {name: getattr(counts, name) for name in expected} == expected, f"seed {seed}"
