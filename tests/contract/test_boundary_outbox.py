"""The outbox relay publishes every row, in order, with its event id: on each broker and database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient, NewTopic
from sqlalchemy import Engine, text
from tests.support.brokers import Stack

from tallystick.boundary import OutboxRelay, create_tables, open_database
from tallystick.boundary.outbox import add_to_outbox
from tallystick.errors import ConfigurationError
from tallystick.ids import EVENT_ID_HEADER, deterministic_id
from tallystick.killpoints import ENV_KILL_AT
from tallystick.pipeline.records import Output

ROOT = Path(__file__).parents[2]
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


def fill(engine: Engine, topic: str, count: int) -> list[str]:
    outputs = [
        Output(topic, b"k", b"%d" % number, deterministic_id("test.outbox", topic, number), (("h", b"x"),))
        for number in range(count)
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
    deadline = time.monotonic() + 30
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


@pytest.mark.parametrize(("kill_point", "repeated"), [("outbox.after-publish", 10), ("outbox.after-mark", 0)])
def test_a_killed_relay_loses_nothing_and_repeats_only_by_id(
    stack: Stack, engine: Engine, topic: str, kill_point: str, repeated: int
) -> None:
    ids = fill(engine, topic, 25)
    command = [sys.executable, "-c", RELAY, stack.database_url, stack.bootstrap]
    environment = {**os.environ, ENV_KILL_AT: f"{kill_point}:2"}
    assert subprocess.run(command, env=environment, cwd=ROOT, timeout=60, check=False).returncode == -signal.SIGKILL
    with engine.begin() as connection:
        query = text("SELECT count(*) FROM tallystick_outbox WHERE published_at_ms IS NULL")
        assert connection.execute(query).scalar_one() == 5 + repeated
    assert subprocess.run(command, cwd=ROOT, timeout=60, check=False).returncode == 0
    found = read(stack, topic, 25 + repeated)
    assert len(found) == 25 + repeated
    assert list(dict.fromkeys(found)) == ids
