"""What only PostgreSQL can do to a SQL effect: deadlocks, serialization failures, ``kill -9`` of the server."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Engine, create_engine, make_url, text
from tests.support.boundary import record
from tests.support.databases import fresh_postgres_database

from tallystick.boundary import PerBatch, SqlEffect, create_tables, open_database, reading
from tallystick.boundary.driver import driver
from tallystick.errors import AmbiguousOutcome
from tallystick.ids import derived_id
from tallystick.pipeline.records import Output, Record
from tallystick.servers import PostgreSQL

pytestmark = pytest.mark.postgres


@pytest.fixture
def url(postgres_server: PostgreSQL) -> Iterator[str]:
    with fresh_postgres_database(postgres_server) as url:
        engine = open_database(url)
        prepare(engine)
        engine.dispose()
        yield url


def prepare(engine: Engine) -> None:
    create_tables(engine)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE booking (record_offset INTEGER)"))
        connection.execute(text("CREATE TABLE account (name TEXT PRIMARY KEY, minor BIGINT NOT NULL)"))
        connection.execute(text("INSERT INTO account VALUES ('a', 0), ('b', 0)"))


def book(connection: Connection, record: Record) -> None:
    connection.execute(text("INSERT INTO booking VALUES (:offset)"), {"offset": record.offset})


def add(connection: Connection, name: str) -> None:
    connection.execute(text("UPDATE account SET minor = minor + 1 WHERE name = :name"), {"name": name})


def accounts(url: str) -> dict[str, int]:
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        return dict(connection.execute("SELECT name, minor FROM account").fetchall())


def test_the_tables_live_beside_the_users_own_in_the_users_schema(url: str) -> None:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as raw:
        raw.execute("CREATE SCHEMA shop")
        raw.execute("CREATE TABLE shop.booking (record_offset INTEGER)")
        engine = open_database(make_url(url).update_query_dict({"options": "-csearch_path=shop"}))
        create_tables(engine)
        create_tables(engine)  # and finds them again
        effect = SqlEffect(engine, book, name="bookings")
        effect.process([record(1)])
        effect.process([record(1)])
        effect.close()
        tables = "SELECT tablename FROM pg_tables WHERE tablename LIKE 'tallystick_%%' AND schemaname = %s"
        made = {schema: sorted(raw.execute(tables, [schema]).fetchall()) for schema in ("shop", "public")}
        assert made["shop"] == made["public"] != []
        assert raw.execute("SELECT count(*) FROM shop.booking").fetchone() == (1,)
        assert raw.execute("SELECT count(*) FROM public.tallystick_inbox").fetchone() == (0,)


def test_the_victim_of_a_deadlock_does_its_whole_batch_again(url: str) -> None:
    calls: list[str] = []
    both_hold_one = threading.Barrier(2)

    def effect(first: str, second: str, number: int) -> None:
        def handle(connection: Connection, record: Record) -> None:
            calls.append(first)
            add(connection, first)
            if calls.count(first) == 1:
                both_hold_one.wait(30)
            add(connection, second)

        made = SqlEffect(open_database(url), handle, name=first)
        made.process([record(number)])
        made.close()

    threads = [threading.Thread(target=effect, args=args) for args in (("a", "b", 1), ("b", "a", 2))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert accounts(url) == {"a": 2, "b": 2}
    assert len(calls) == 3, "one of the two was the victim"


def test_a_serialization_failure_repeats_the_batch_and_not_for_ever(url: str) -> None:
    engine = create_engine(url, isolation_level="REPEATABLE READ")
    in_the_way: list[int] = []
    limit = [1]

    def handle(connection: Connection, record: Record) -> None:
        connection.execute(text("SELECT minor FROM account WHERE name = 'a'"))
        if len(in_the_way) < limit[0]:
            in_the_way.append(record.offset)
            with psycopg.connect(url.replace("+psycopg", "")) as other:
                other.execute("UPDATE account SET minor = minor + 100 WHERE name = 'a'")
        add(connection, "a")

    effect = SqlEffect(engine, handle, name="book")
    effect.process([record(1)])
    assert accounts(url)["a"] == 101
    assert effect.counts.processed == 1
    limit[0] = 99
    with pytest.raises(AmbiguousOutcome, match="5 tries"):
        effect.process([record(2)])
    effect.close()
    assert accounts(url)["a"] == 101 + 100 * 5


@pytest.mark.parametrize("in_batch", [False, True], ids=["between", "inside"])
def test_a_server_that_is_killed_while_batches_are_written_loses_and_repeats_nothing(in_batch: bool) -> None:
    with PostgreSQL() as server:  # with fsync: what it has committed it keeps
        engine = open_database(server.url)
        prepare(engine)
        kill_at = {2, 5}

        def kill(number: int) -> None:
            if number in kill_at:
                kill_at.discard(number)
                server.kill()
                server.restart()

        def book(connection: Connection, records: Any) -> list[Iterable[Output]]:
            with driver(connection) as raw:
                raw.execute("INSERT INTO booking SELECT * FROM unnest(%s::int[])", ([one.offset for one in records],))
            if in_batch:
                kill(records[0].offset // 50)
            return [[Output("booked", None, b"%d" % r.offset, derived_id(r.event_id, "b", 0))] for r in records]

        effect = SqlEffect(engine, PerBatch(book), name="book")
        emitted: list[Any] = []
        for number in range(8):
            batch = [record(at) for at in range(number * 50, number * 50 + 50)]
            emitted += effect.process(batch)
            if not in_batch:
                kill(number)
        assert not kill_at
        with reading(engine) as connection:
            assert list(connection.execute(text("SELECT * FROM booking ORDER BY 1")).scalars()) == list(range(400))
        values = [output.value for outputs in emitted if isinstance(outputs, tuple) for output in outputs]
        assert values == [b"%d" % number for number in range(400)]
        assert effect.counts.processed == 400
        effect.close()
