"""The outbox relay publishes every row, in order, with its event id: on each broker and database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient, NewTopic
from sqlalchemy import Engine, text
from tests.support.brokers import Stack
from tests.support.clients import WAIT_S
from tests.support.databases import fresh_postgres_database

from tallystick.boundary import OutboxRelay, create_tables, open_database, outbox_relay
from tallystick.boundary.outbox import add_to_outbox
from tallystick.boundary.outbox_wakeup import Wakeup
from tallystick.clock import ManualClock
from tallystick.errors import ConfigurationError, RetriableError
from tallystick.ids import EVENT_ID_HEADER, deterministic_id
from tallystick.killpoints import ENV_KILL_AT, arm_here
from tallystick.pipeline.kafka_client import UnjoinedGroup
from tallystick.pipeline.records import Output
from tallystick.servers import PostgreSQL

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
RELAY = """
import sys
from tallystick.boundary import OutboxRelay, open_database
engine = open_database(sys.argv[1])
relay = OutboxRelay(engine, sys.argv[2], batch_rows=10)
relay.run_until_idle()
relay.close()
engine.dispose()
"""


@pytest.fixture
def engine(stack: Stack) -> Iterator[Engine]:
    opened = open_database(stack.database_url)
    create_tables(opened)
    yield opened
    opened.dispose()


@pytest.fixture
def topic(stack: Stack, names: Callable[[str], str]) -> str:
    name = names("outbox")
    admin = AdminClient({"bootstrap.servers": stack.bootstrap})
    admin.create_topics([NewTopic(name, num_partitions=1)])[name].result(30)
    return name


def unpublished(engine: Engine) -> int:
    with engine.begin() as connection:
        query = text("SELECT count(*) FROM tallystick_outbox WHERE published_at_ms IS NULL")
        return int(connection.execute(query).scalar_one())


def fill(engine: Engine, topic: str, count: int, *, first: int = 0) -> list[str]:
    outputs = [
        Output(topic, b"k", b"%d" % number, deterministic_id("test.outbox", topic, number), (("h", b"x"),))
        for number in range(first, first + count)
    ]
    with engine.begin() as connection:
        assert add_to_outbox(connection, outputs) == count
    return [str(output.event_id) for output in outputs]


def read(stack: Stack, topic: str, count: int) -> list[str]:
    """The event ids in the topic, in order: at least ``count`` of them, and then all up to its end."""
    consumer = Consumer(
        {
            "bootstrap.servers": stack.bootstrap,
            "group.id": topic,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    consumer.subscribe([topic])
    found: list[str] = []
    deadline = time.monotonic() + WAIT_S
    try:
        while time.monotonic() < deadline:
            message = consumer.poll(0.5)
            if message is None:
                continue
            if message.error() is not None:
                if len(found) >= count:
                    return found
                continue
            headers = dict(message.headers() or [])
            assert headers["h"] == b"x"
            event_id = headers[EVENT_ID_HEADER]
            assert isinstance(event_id, bytes)
            found.append(event_id.decode("ascii"))
    finally:
        consumer.close()
    raise AssertionError(f"only {len(found)} of {count} records arrived")


def test_rows_arrive_in_order_with_their_ids_and_only_once(stack: Stack, engine: Engine, topic: str) -> None:
    ids = fill(engine, topic, 25)
    relay = OutboxRelay(engine, stack.bootstrap, batch_rows=10)
    assert relay.backlog() == 25
    assert relay.run_until_idle() == 25
    assert relay.run_once() == 0
    assert relay.backlog() == 0
    relay.close()
    assert read(stack, topic, 25) == ids


def test_an_event_id_is_added_once(engine: Engine) -> None:
    output = Output("t", None, b"1", deterministic_id("test.outbox", 1))
    with engine.begin() as connection:
        assert add_to_outbox(connection, [output, output]) == 1
        assert add_to_outbox(connection, [output]) == 0


def test_a_setting_that_the_relay_makes_itself_is_refused(stack: Stack, engine: Engine) -> None:
    with pytest.raises(ConfigurationError, match="acks"):
        OutboxRelay(engine, stack.bootstrap, producer_config={"acks": "1"})


@pytest.mark.parametrize(
    ("kill_point", "marked"),
    [("outbox.after-begin", 0), ("outbox.before-commit", 0), ("outbox.after-publish", 0), ("outbox.after-mark", 10)],
)
def test_a_killed_relay_loses_nothing_and_repeats_nothing(
    stack: Stack, engine: Engine, topic: str, kill_point: str, marked: int
) -> None:
    ids = fill(engine, topic, 25)
    command = [sys.executable, "-c", RELAY, stack.database_url, stack.bootstrap]
    environment = {**ENVIRONMENT, ENV_KILL_AT: f"{kill_point}:1"}
    assert subprocess.run(command, env=environment, cwd=ROOT, timeout=60, check=False).returncode == -signal.SIGKILL
    assert unpublished(engine) == 25 - marked
    assert subprocess.run(command, env=ENVIRONMENT, cwd=ROOT, timeout=60, check=False).returncode == 0
    assert read(stack, topic, 25) == ids
    assert unpublished(engine) == 0


def test_a_coordinator_that_is_not_ready_yet_is_asked_again(
    stack: Stack, engine: Engine, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = fill(engine, topic, 5)

    def die(name: str) -> None:
        raise KeyboardInterrupt(name)

    arm_here("outbox.after-begin", 1, die)
    first = OutboxRelay(engine, stack.bootstrap)
    with pytest.raises(KeyboardInterrupt):
        first.run_once()
    first.close()
    answered, asked = UnjoinedGroup.note, []

    def not_yet(self: UnjoinedGroup, partition: tuple[str, int]) -> str | None:
        asked.append(partition)
        if len(asked) < 3:
            raise RetriableError("NOT_COORDINATOR")
        return answered(self, partition)

    monkeypatch.setattr(UnjoinedGroup, "note", not_yet)
    relay = OutboxRelay(engine, stack.bootstrap)
    assert relay.run_until_idle() == 0, "what was begun, it finishes while it gets ready"
    relay.close()
    assert len(asked) == 3
    assert read(stack, topic, 5) == ids
    assert unpublished(engine) == 0


def test_of_two_relays_the_later_publishes_and_the_earlier_takes_over_when_it_is_gone(
    stack: Stack, engine: Engine, topic: str
) -> None:
    clock = ManualClock(start_ms=1)
    first, second = (OutboxRelay(engine, stack.bootstrap, batch_rows=4, lease_ms=1_000, clock=clock) for _ in "ab")
    ids = fill(engine, topic, 10)
    assert first.run_once() == 4
    assert second.run_once() == 4
    assert first.run_once() == 0, "it is fenced"
    assert first.run_once() == 0, "and does not take the turn back while the other has it"
    assert second.run_once() == 2
    second.close()
    more = fill(engine, topic, 3, first=10)
    assert first.run_once() == 0
    clock.advance(by_ms=1_001)
    assert first.run_until_idle() == 3
    first.close()
    assert read(stack, topic, 13) == ids + more


def test_a_relay_that_was_fenced_in_its_transaction_has_published_nothing_of_it(
    stack: Stack, engine: Engine, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = OutboxRelay(engine, stack.bootstrap)
    second = OutboxRelay(engine, stack.bootstrap)
    ids = fill(engine, topic, 3)

    def take_over(point: object) -> None:
        if point is outbox_relay.BEFORE_COMMIT:
            monkeypatch.undo()
            assert second.run_until_idle() == 0, "what was begun, it finishes while it gets ready"

    monkeypatch.setattr(outbox_relay, "reach", take_over)
    assert first.run_once() == 0
    first.close()
    second.close()
    assert read(stack, topic, 3) == ids
    assert unpublished(engine) == 0


def test_databases_under_one_name_do_not_take_each_others_position(
    stack: Stack, engine: Engine, topic: str, tmp_path: Path
) -> None:
    other = open_database(f"sqlite:///{tmp_path / 'other.sqlite'}")
    create_tables(other)
    ids = fill(engine, topic, 3)
    others = fill(other, topic, 4, first=3)
    relays = [OutboxRelay(one, stack.bootstrap) for one in (engine, other)]
    assert [relay.run_until_idle() for relay in relays] == [3, 4]
    for relay in relays:
        relay.close()
    other.dispose()
    assert read(stack, topic, 7) == ids + others


def test_a_relay_that_waits_is_called_by_the_commit(stack: Stack, engine: Engine, topic: str) -> None:
    """On SQLite it looks again by itself; on PostgreSQL it would look after an hour."""
    relay = OutboxRelay(engine, stack.bootstrap, poll_ms=50)
    stop = threading.Event()
    thread = threading.Thread(target=relay.run, args=(stop,))
    thread.start()
    try:
        ids = [one for number in range(3) for one in fill(engine, topic, 1, first=number)]
        assert read(stack, topic, 3) == ids
    finally:
        stop.set()
        thread.join()
        relay.close()


@pytest.mark.postgres
def test_a_commit_calls_who_listens(postgres_server: PostgreSQL) -> None:
    with fresh_postgres_database(postgres_server) as url:
        engine = open_database(url)
        create_tables(engine)
        wakeup, stop = Wakeup(engine, 1), threading.Event()
        wakeup.wait(stop)  # begins to listen
        fill(engine, "t", 1)
        waiting = threading.Thread(target=partial(wakeup.wait, stop))
        waiting.start()
        waiting.join(60)
        assert not waiting.is_alive()
        wakeup.close()
        engine.dispose()
