"""``tallystick doctor`` after a restore: of the database, of the broker's folder, of a topic."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from msgspec.structs import replace
from sqlalchemy import Connection, Engine, text
from tests.support.boundary import record
from tests.support.brokers import Cluster, Names
from tests.support.clients import WAIT_S, admin, consumer, eventually, make_topic
from tests.support.pipeline import put
from typer.testing import CliRunner

from tallystick.boundary import OutboxRelay, SqlEffect, add_to_outbox, create_tables, open_database
from tallystick.broker import EmbeddedBroker
from tallystick.cli.main import app
from tallystick.cli.run import ask_doctor
from tallystick.ids import PositionIds, deterministic_id
from tallystick.pipeline import App, Topic
from tallystick.pipeline.kafka_client import Cluster as Facts
from tallystick.pipeline.records import Output, Record


def nothing(connection: Connection, record: Record) -> None:
    return None


class Consuming:
    """A consumer whose SQL and whose offsets the test moves by hand."""

    def __init__(self, engine: Engine, bootstrap: str, topic: str, group: str) -> None:
        self.engine, self.bootstrap, self.topic, self.group = engine, bootstrap, topic, group
        self.effect = SqlEffect(engine, nothing, name="book")

    def process(self, *offsets: int) -> None:
        cluster = Facts({"bootstrap.servers": self.bootstrap})
        topic_id = cluster.topics([self.topic])[self.topic].topic_id
        ids = PositionIds(cluster_id=cluster.cluster_id(), topic_id=topic_id, partition=0)
        self.effect.process([replace(record(at), topic=self.topic, event_id=ids.at(at)) for at in offsets])

    def commit(self, offset: int) -> None:
        with consumer(self.bootstrap, self.group) as reader:
            reader.commit(offsets=[TopicPartition(self.topic, 0, offset)], asynchronous=False)

    def doctor(self, *more: str) -> tuple[int, list[str]]:
        options = ["--database", self.engine.url.render_as_string(hide_password=False), "--bootstrap", self.bootstrap]
        done = CliRunner().invoke(app, ["doctor", *options, "--group", self.group, "--json", *more])
        rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        return done.exit_code, [row["code"] for row in rows]


@pytest.fixture
def consuming(kafka: Cluster, names: Names, engine: Engine) -> Consuming:
    topic = make_topic(kafka.bootstrap, names("orders"))
    put(kafka.bootstrap, topic, [b"%d" % number for number in range(6)])
    return Consuming(engine, kafka.bootstrap, topic, names("group"))


def test_a_database_of_an_earlier_time_is_told_from_a_killed_worker(consuming: Consuming) -> None:
    consuming.process(0, 1, 2)
    consuming.commit(3)
    assert consuming.doctor() == (0, [])
    consuming.process(3, 4)
    assert consuming.doctor() == (0, ["replay"])
    consuming.commit(6)
    assert consuming.doctor() == (1, ["sql-behind"])
    consuming.process(5)
    assert consuming.doctor() == (0, [])


def shop() -> App:
    app = App("shop")
    app.step(source=Topic("orders", bytes), name="book")(lambda _order, _context: None)
    return app


def test_workers_that_are_told_to_ask_the_doctor_do_not_start_on_a_database_of_an_earlier_time(
    consuming: Consuming, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The command owns its process and its logs; here it would leave them pointing at a stream that is closed.
    monkeypatch.setattr("tallystick.cli.run.configure_logs", lambda _level: None)
    front, consuming.group = consuming.group, f"{consuming.group}.book"
    database = consuming.engine.url.render_as_string(hide_password=False)
    consuming.process(0, 1, 2, 3, 4)
    consuming.commit(3)
    ask_doctor(database, f"{__name__}:shop", group=front, bootstrap=consuming.bootstrap, command_config=None)
    consuming.commit(6)
    options = ["--group", front, "--bootstrap", consuming.bootstrap, "--doctor", database]
    done = CliRunner().invoke(app, ["run", f"{__name__}:shop", *options])
    assert done.exit_code == 78
    assert "sql-behind" in done.output


def test_a_topic_that_was_made_anew_is_told_and_may_be_accepted(consuming: Consuming) -> None:
    consuming.process(0, 1)
    assert consuming.doctor() == (0, [])
    client = admin(consuming.bootstrap)
    client.delete_topics([consuming.topic])[consuming.topic].result(WAIT_S)
    eventually(lambda: consuming.topic not in client.list_topics(timeout=WAIT_S).topics)
    assert consuming.doctor() == (1, ["topic-missing"])
    make_topic(consuming.bootstrap, consuming.topic)
    put(consuming.bootstrap, consuming.topic, [b"a", b"b", b"c"])
    assert consuming.doctor() == (1, ["other-topic"])
    assert consuming.doctor("--accept") == (0, [])
    assert consuming.doctor() == (0, [])


def test_a_broker_folder_of_an_earlier_time_is_told(
    tmp_path: Path, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'own.sqlite'}")
    create_tables(engine)
    folder, backup = tmp_path / "broker", tmp_path / "backup"
    with EmbeddedBroker(folder) as broker:
        consuming = Consuming(engine, broker.bootstrap, make_topic(broker.bootstrap, names("orders")), names("group"))
        put(broker.bootstrap, consuming.topic, [b"a"])
        publish(engine, broker.bootstrap, consuming.topic, 1)
    shutil.copytree(folder, backup)
    with EmbeddedBroker(folder) as broker:
        consuming.bootstrap = broker.bootstrap
        put(broker.bootstrap, consuming.topic, [b"b", b"c"])
        consuming.process(0, 1, 2, 3)
        publish(engine, broker.bootstrap, consuming.topic, 2)
        consuming.commit(4)
        assert consuming.doctor() == (0, [])
    with EmbeddedBroker(backup) as broker:
        consuming.bootstrap = broker.bootstrap
        assert consuming.doctor() == (1, ["kafka-behind", "outbox-kafka-behind"])
    engine.dispose()


def test_an_outbox_of_an_earlier_time_is_told(consuming: Consuming, engine: Engine) -> None:
    publish(engine, consuming.bootstrap, consuming.topic, 1)
    publish(engine, consuming.bootstrap, consuming.topic, 2)
    assert consuming.doctor() == (0, [])
    with engine.begin() as connection:  # as after a restore of the time before the second
        connection.execute(text("DELETE FROM tallystick_outbox WHERE batch = 2"))
        connection.execute(text("UPDATE tallystick_outbox_relay SET batch = 1"))
    assert consuming.doctor() == (1, ["outbox-sql-behind"])


def publish(engine: Engine, bootstrap: str, topic: str, number: int) -> None:
    with engine.begin() as connection:
        add_to_outbox(connection, [Output(topic, b"k", b"v", deterministic_id("test.doctor", topic, number))])
    relay = OutboxRelay(engine, bootstrap)
    assert relay.run_until_idle() == 1
    relay.close()
