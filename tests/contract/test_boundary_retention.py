"""Inboxes that forget, and tables of older versions, on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from msgspec.structs import replace
from sqlalchemy import Connection, Engine, inspect, text
from tests.support.boundary import record
from tests.support.brokers import Cluster, Names
from tests.support.clients import consumer, make_topic
from tests.support.pipeline import put
from typer.testing import CliRunner

from tallystick.boundary import SqlEffect, create_tables, inbox, open_database, schema
from tallystick.boundary.horizons import BelowHorizon, Horizons, raise_horizons
from tallystick.boundary.retention import STEP_ROWS, forget, inbox_sizes
from tallystick.cli.main import app
from tallystick.clock import ManualClock
from tallystick.errors import ConfigurationError
from tallystick.pipeline.ports import Poisoned
from tallystick.pipeline.records import Record

DAY_MS = 86_400_000
NOW_MS = 1_700_000_000_000
VERSIONS = Path(__file__).parents[1] / "unit" / "boundary" / "versions"


class Calls:
    def __init__(self) -> None:
        self.offsets: list[int] = []

    def __call__(self, connection: Connection, record: Record) -> None:
        self.offsets.append(record.offset)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    opened = open_database(database_url)
    yield opened
    opened.dispose()


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def effect(engine: Engine, calls: Calls) -> SqlEffect:
    """Its inbox has the records 0 to 9 of a hundred days ago, and 10 to 12 of today."""
    create_tables(engine)
    clock = ManualClock(start_ms=NOW_MS - 100 * DAY_MS)
    made = SqlEffect(engine, calls, name="book", clock=clock)
    made.process([record(number) for number in range(10)])
    clock.advance(by_ms=100 * DAY_MS)
    made.process([record(number) for number in (10, 11, 12)])
    calls.offsets.clear()
    return made


def remembered(engine: Engine) -> list[int]:
    with engine.begin() as connection:
        query = "SELECT record_offset FROM tallystick_inbox WHERE scope = 'book' ORDER BY 1"
        return list(connection.execute(text(query)).scalars())


def forget_up_to(engine: Engine, offset: int, *, days: int = 90) -> int:
    return forget(engine, scope="book", committed={("orders", 0): offset}, before_ms=NOW_MS - days * DAY_MS)


def aged(number: int, days: int, **fields: Any) -> Record:
    return replace(record(number, **fields), timestamp_ms=NOW_MS - days * DAY_MS)


def test_a_row_goes_when_it_is_old_and_its_group_is_past_it(engine: Engine, effect: SqlEffect) -> None:
    with engine.begin() as connection:
        inbox.once(connection, "another", scope="other")
    (size,) = [
        found
        for found in inbox_sizes(engine, scope=None, committed={("orders", 0): 4}, before_ms=NOW_MS - 90 * DAY_MS)
        if found.scope == "book"
    ]
    assert (size.rows, size.forgettable) == (13, 4)
    assert forget_up_to(engine, 4) == 4
    assert remembered(engine)[:2] == [4, 5]
    assert forget_up_to(engine, 11) == 6
    assert forget_up_to(engine, 13, days=101) == 0
    assert remembered(engine) == [10, 11, 12]


def test_a_partition_that_nobody_vouches_for_is_kept(engine: Engine, effect: SqlEffect) -> None:
    committed = {("orders", 1): 100, ("other", 0): 100}
    assert forget(engine, scope="book", committed=committed, before_ms=NOW_MS) == 0


def test_a_replay_of_what_is_forgotten_stops_and_does_nothing(engine: Engine, effect: SqlEffect, calls: Calls) -> None:
    forget_up_to(engine, 5)
    with pytest.raises(BelowHorizon, match=r"orders-0@3 lies below offset 5.*rule 25"):
        effect.process([record(12), record(3), record(13)])
    assert calls.offsets == []
    assert 13 not in remembered(engine)
    effect.process([record(5), record(13)])
    assert calls.offsets == [13]


def test_an_event_older_than_is_remembered_is_poisoned_alone(engine: Engine, effect: SqlEffect, calls: Calls) -> None:
    forget_up_to(engine, 5)
    sent_again = aged(3, 95, offset=14)
    results = effect.process([aged(13, 0), sent_again, aged(15, 89)])
    verdict = results[1]
    assert isinstance(verdict, Poisoned)
    assert "may have been processed and forgotten" in str(verdict.cause)
    assert calls.offsets == [13, 15]
    assert (effect.counts.too_old, 14 in remembered(engine)) == (1, False)
    assert isinstance(effect.process([sent_again])[0], Poisoned)


def test_an_event_that_is_remembered_may_be_as_old_as_it_likes(engine: Engine, effect: SqlEffect, calls: Calls) -> None:
    forget_up_to(engine, 5)
    assert effect.process([aged(7, 99), aged(8, 99, offset=30)]) == [(), ()]
    assert calls.offsets == []
    assert (effect.counts.replayed, effect.counts.duplicates) == (1, 1)


def test_the_time_of_an_event_is_what_the_user_says(engine: Engine, effect: SqlEffect, calls: Calls) -> None:
    forget_up_to(engine, 5)
    theirs = SqlEffect(engine, calls, name="book", occurred_at_ms=lambda record: int(record.value or 0))
    results = theirs.process([record(20, b"%d" % (NOW_MS - 95 * DAY_MS)), record(21, b"%d" % NOW_MS)])
    assert [isinstance(result, Poisoned) for result in results] == [True, False]


def test_who_allows_it_by_name_processes_again(engine: Engine, effect: SqlEffect, calls: Calls) -> None:
    forget_up_to(engine, 5)
    rerating = SqlEffect(engine, calls, name="book", allow_reexecution="the price of March was wrong")
    rerating.process([record(3), aged(4, 95, offset=40)])
    assert calls.offsets == [3, 40]


def test_horizons_never_go_back(engine: Engine) -> None:
    create_tables(engine)
    for offset, before_ms in ((9, 50), (4, 90), (0, 0)):
        with engine.begin() as connection:
            raise_horizons(connection, "s", Horizons({("t", 0): offset}, before_ms))
    with engine.begin() as connection:
        assert Horizons.read(connection, "s") == Horizons({("t", 0): 9}, 90)
        assert Horizons.read(connection, "another") == Horizons()


def test_many_rows_go_in_steps(engine: Engine, calls: Calls) -> None:
    create_tables(engine)
    effect = SqlEffect(engine, calls, name="book", clock=ManualClock(start_ms=1))
    effect.process([record(number) for number in range(STEP_ROWS + 7)])
    steps: list[int] = []
    committed = {("orders", 0): STEP_ROWS + 7}
    assert forget(engine, scope="book", committed=committed, before_ms=5, on_step=steps.append) == STEP_ROWS + 7
    assert steps == [STEP_ROWS, STEP_ROWS + 7]


def structure(engine: Engine) -> dict[str, Any]:
    """Names, columns, keys, checks and indexes of all tables, as the database tells them."""
    found = inspect(engine)
    return {
        table: {
            "columns": {
                column["name"]: (str(column["type"]), column["nullable"], column["default"])
                for column in found.get_columns(table)
            },
            "primary key": found.get_pk_constraint(table)["constrained_columns"],
            "unique": sorted(str(sorted(key["column_names"])) for key in found.get_unique_constraints(table)),
            "foreign": sorted(str(key["referred_table"]) for key in found.get_foreign_keys(table)),
            "checks": sorted(str(check["name"]) for check in found.get_check_constraints(table)),
            "indexes": sorted(str(index["name"]) for index in found.get_indexes(table)),
        }
        for table in sorted(found.get_table_names())
    }


def test_tables_of_version_1_are_brought_up_to_date_and_keep_their_rows(engine: Engine, tmp_path: Path) -> None:
    statements = (VERSIONS / f"version_1.{engine.dialect.name}.sql").read_text().split(";\n")
    with engine.begin() as connection:
        for statement in filter(str.strip, statements):
            connection.execute(text(statement))
        inbox.once(connection, "e-1", b"body")
    create_tables(engine)
    create_tables(engine)
    with engine.begin() as connection:
        assert not inbox.once(connection, "e-1", b"body")
        assert (
            connection.execute(text("SELECT version FROM tallystick_schema_version")).scalar_one()
            == schema.SCHEMA_VERSION
        )
    migrated = structure(engine)
    with engine.begin() as connection:
        for table in migrated:
            connection.execute(text(f"DROP TABLE {table}" + (" CASCADE" if engine.dialect.name != "sqlite" else "")))
    create_tables(engine)
    assert structure(engine) == migrated


def test_tables_of_a_newer_program_are_refused(engine: Engine) -> None:
    create_tables(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE tallystick_schema_version SET version = 99"))
    with pytest.raises(ConfigurationError, match="have version 99"):
        create_tables(engine)


def test_the_command_asks_the_group_how_far_it_has_read(
    kafka: Cluster, names: Names, database_url: str, engine: Engine
) -> None:
    topic, group = make_topic(kafka.bootstrap, names("orders")), names("group")
    put(kafka.bootstrap, topic, [b"a", b"b", b"c"])
    create_tables(engine)
    old = SqlEffect(engine, Calls(), name="book", clock=ManualClock(start_ms=1))
    old.process([replace(record(number), topic=topic) for number in range(3)])
    with consumer(kafka.bootstrap, group) as reader:
        reader.commit(offsets=[TopicPartition(topic, 0, 2)], asynchronous=False)
    options = ["--database", database_url, "--keep", "90d", "--group", group, "--bootstrap", kafka.bootstrap]
    listed = CliRunner().invoke(app, ["inbox", "list", *options, "--json"])
    assert json.loads(listed.stdout) == {"scope": "book", "rows": 3, "forgettable": 2, "oldest": "1970-01-01"}
    planned = CliRunner().invoke(app, ["inbox", "forget", "book", *options])
    assert planned.stdout == "2 of 3 rows; add --execute to forget them\n"
    done = CliRunner().invoke(app, ["inbox", "forget", "book", *options, "--execute"])
    assert "forgot 2 of 3 rows" in done.stdout, done.output
    assert remembered(engine) == [2]
