"""``tallystick trace`` and ``tallystick lint`` on both brokers: one event's way, and breaches that are really there."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from sqlalchemy import Connection
from tests.support.brokers import Cluster, Names, Stack
from tests.support.clients import WAIT_S, committed_place, eventually

from tallystick.boundary import SqlEffect, create_tables, open_database
from tallystick.ids import EVENT_ID_HEADER, derived_id, deterministic_id
from tallystick.pipeline import App, Guarantee, Output, Record, WorkerConfig, run_worker
from tallystick.verify.oracle import committed_offsets

pytestmark = pytest.mark.timeout(180)


def tallystick(*arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """Exit code, and the rows of ``--json``."""
    command = [sys.executable, "-m", "tallystick.cli.main", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def make_topics(bootstrap: str, *topics: str, partitions: int = 1) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics([NewTopic(topic, partitions) for topic in topics]).values():
        future.result(WAIT_S)


@pytest.fixture
def traced(stack: Stack, names: Names) -> tuple[Stack, str, str, str]:
    """A stack on which one event went from a topic through an inbox into another topic, with an aborted try before."""
    name = names("trace")
    source, sink = f"{name}.in", f"{name}.out"
    make_topics(stack.bootstrap, source, sink)
    event = deterministic_id("test", name)
    engine = open_database(stack.database_url)
    create_tables(engine)
    engine.dispose()

    producer = Producer({"bootstrap.servers": stack.bootstrap, "transactional.id": f"{name}-source"})
    producer.init_transactions(WAIT_S)
    for commit in (False, True):
        producer.begin_transaction()
        producer.produce(source, b"{}", key=b"k", headers=[(EVENT_ID_HEADER, event.encode())])
        producer.flush(WAIT_S)
        producer.commit_transaction(WAIT_S) if commit else producer.abort_transaction(WAIT_S)

    def handle(connection: Connection, record: Record) -> list[Output]:
        return [Output(sink, record.key, b"done", derived_id(record.event_id, "copy", 0))]

    app = App(name, guarantee=Guarantee.EXACTLY_ONCE)
    app.add(
        "copy", [source], factory=lambda: SqlEffect(open_database(stack.database_url), handle, name=name), emits=[sink]
    )
    stop = threading.Event()
    worker = threading.Thread(
        target=run_worker, args=(app, WorkerConfig(bootstrap=stack.bootstrap, slot="slot-0")), kwargs={"stop": stop}
    )
    worker.start()
    try:
        eventually(lambda: committed_offsets(stack.bootstrap, f"{name}.copy", [source]).get((source, 0), 0) > 0)
    finally:
        stop.set()
        worker.join(WAIT_S)
    return stack, name, event, derived_id(event, "copy", 0)


def test_a_trace_shows_input_transactions_outputs_rows_and_settlement(
    traced: tuple[Stack, str, str, str], tmp_path: Path
) -> None:
    stack, name, event, output = traced
    settlement = tmp_path / "settlement.csv"
    settlement.write_text(f"id,reference,amount\n1,somebody,5\n2,{event},100\n")
    code, rows = tallystick(
        "trace", event, "--bootstrap", stack.bootstrap, "--topic", f"{name}.in", "--topic", f"{name}.out",
        "--database", stack.database_url, "--settlement", str(settlement),
    )  # fmt: skip
    assert code == 0
    text = [f"{row['place']} {row['what']}" for row in rows]
    assert sum("aborted: no reader" in line for line in text) == 1
    assert (
        sum(line.startswith(f"{name}.in-0") and "the event: written" in line and ", committed" in line for line in text)
        == 1
    )
    assert sum(line.startswith(f"{name}.out-0") and "output 0 of step copy" in line for line in text) == 1
    assert any(f"group {name}.copy has consumed it" in line for line in text)
    assert any("processed in scope" in line and f"{name}.in-0@" in line for line in text)
    assert any("settlement.csv, line 3" in line for line in text)
    assert {row["event_id"] for row in rows} == {event, output}
    times = [row["time"] for row in rows if row["time"] is not None]
    assert times == sorted(times)


def test_an_event_that_nobody_knows_has_no_trace(kafka: Cluster, names: Names) -> None:
    topic = names("empty")
    make_topics(kafka.bootstrap, topic)
    assert tallystick("trace", deterministic_id("test", "x"), "--bootstrap", kafka.bootstrap, "--topic", topic) == (
        1,
        [],
    )


def test_a_group_of_nobody_that_commits_and_offsets_out_of_range_are_breaches(kafka: Cluster, names: Names) -> None:
    topic, group = names("lint"), names("lint-group")
    make_topics(kafka.bootstrap, topic, partitions=2)
    settings = {"bootstrap.servers": kafka.bootstrap, "group.id": group, "enable.auto.commit": False}
    consumer = Consumer(settings)
    done = threading.Event()

    def commit() -> None:
        for offset in range(100_000):
            if done.wait(0.1):
                break
            consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)

    committing = threading.Thread(target=commit)
    committing.start()
    try:
        eventually(lambda: committed_place(consumer, topic).offset > 1)
        code, rows = tallystick("lint", "--group", group, "--watch", "3", "--bootstrap", kafka.bootstrap)
    finally:
        done.set()
        committing.join(WAIT_S)
        consumer.close()
    assert code == 1
    assert {(row["weight"], row["rule"]) for row in rows} == {("breach", 2), ("breach", 10), ("risk", 10)}


def test_transactional_ids_that_are_new_with_each_start_are_a_breach_of_the_cluster(
    kafka: Cluster, names: Names
) -> None:
    name = f"{names('lint')}-0b1f7a4e-7d3c-8c2a-9f10-2f4f5d1f9a77"
    Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": name}).init_transactions(WAIT_S)
    code, rows = tallystick("lint", "--cluster", "--bootstrap", kafka.bootstrap)
    assert code == 1
    assert any(row["rule"] == 5 and "transactional ids" in row["where"] for row in rows)


def test_files_of_settings_are_judged_by_the_client_that_reads_them(tmp_path: Path) -> None:
    consumer, producer = tmp_path / "consumer.properties", tmp_path / "producer.properties"
    consumer.write_text("group.id=shop\nkey.deserializer=x\nauto.offset.reset=none\ngroup.instance.id=a\n")
    producer.write_text("transactional.id=shop-0\nkey.serializer=x\ntransaction.timeout.ms=60000\n")
    code, rows = tallystick("lint", "--consumer", str(consumer), "--producer", str(producer))
    assert code == 1
    assert [(row["weight"], row["rule"]) for row in rows] == [("breach", 8), ("breach", 3), ("breach", 4)]
