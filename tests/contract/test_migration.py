"""From an embedded broker to the cluster under test: nothing repeats, wherever the copy is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Message
from tests.support.brokers import Cluster, Names
from tests.support.clients import make_topic, producer
from tests.support.pipeline import RunningLoop, header, put, read_until, values

from tallystick.broker import EmbeddedBroker, LocalBroker
from tallystick.ids import EVENT_ID_HEADER
from tallystick.migration import copying
from tallystick.pipeline import Emit

pytestmark = pytest.mark.timeout(300)
INPUTS = [b"%d" % number for number in range(400)]


@pytest.fixture
def source() -> Iterator[LocalBroker]:
    with EmbeddedBroker() as broker:
        yield broker


def copy_to(target: str) -> object:
    return lambda record: Emit(target, record.key, record.value)


def ids(messages: list[Message]) -> dict[bytes, bytes]:
    return {message.value() or b"": header(message, EVENT_ID_HEADER) or b"" for message in messages}


def work(bootstrap: str, group: str, topic: str, target: str, *, until: int) -> list[Message]:
    """Let the application copy until so many records are there; then it stops where it is."""
    with RunningLoop(bootstrap, group, topic, copy_to(target), batch_records=50):  # type: ignore[arg-type]
        return read_until(bootstrap, target, lambda found: len(set(values(found))) >= until)


def migrate(
    source: LocalBroker, target: Cluster, folder: Path, *, kill_at: str = "", dry_run: bool = False, wait_s: int = 20
) -> int:
    command = [sys.executable, "-m", "tallystick.cli.main", "migrate", "--from", source.bootstrap]
    command += ["--to", target.bootstrap, "--report", str(folder / "certificate.json")]
    command += ["--wait", str(wait_s)]
    environment = os.environ | {"TALLYSTICK_KILL_AT": kill_at, "TALLYSTICK_KILL_LOG": str(folder / "kills")}
    with (folder / "output").open("w") as output:
        return subprocess.run(
            command + ["--dry-run"] * dry_run, env=environment, stdout=output, stderr=output, check=False
        ).returncode


def output(folder: Path) -> str:
    return (folder / "output").read_text()


def test_an_application_that_moves_repeats_and_loses_nothing_although_the_copy_is_killed_twice(
    kafka: Cluster, source: LocalBroker, names: Names, tmp_path: Path
) -> None:
    topic, target, group = names("in"), names("out"), names("group")
    for name in (topic, target):
        make_topic(source.bootstrap, name, partitions=2)
    put(source.bootstrap, topic, INPUTS[:150])
    before = ids(work(source.bootstrap, group, topic, target, until=150))
    put(source.bootstrap, topic, INPUTS[150:300])
    source.faults.skew_clock(monotonic_ms=60_000)  # the session of the static member that went away ends
    for place in (copying.IN_BATCH, copying.AFTER_BATCH):
        assert migrate(source, kafka, tmp_path, kill_at=place) == -9
    assert migrate(source, kafka, tmp_path) == 0, output(tmp_path)
    certificate = json.loads((tmp_path / "certificate.json").read_text())
    assert {move["group"] for move in certificate["groups"]} == {group}
    assert sum(match["records"] for match in certificate["partitions"] if match["topic"] == topic) == 300
    put(kafka.bootstrap, topic, INPUTS[300:])
    messages = work(kafka.bootstrap, group, topic, target, until=len(INPUTS))
    assert Counter(values(messages)) == Counter(INPUTS)
    after = ids(messages)
    assert {value: after[value] for value in before} == before
    assert len(set(after.values())) == len(INPUTS)


def test_what_stands_in_the_way_is_named_and_nothing_is_moved(
    kafka: Cluster, source: LocalBroker, names: Names, tmp_path: Path
) -> None:
    topic, target, group = names("in"), names("out"), names("group")
    for name in (topic, target):
        make_topic(source.bootstrap, name, partitions=2)
    put(source.bootstrap, topic, INPUTS[:10])
    with RunningLoop(source.bootstrap, group, topic, copy_to(target)):  # type: ignore[arg-type]
        read_until(source.bootstrap, target, lambda found: len(found) >= 10)
        assert migrate(source, kafka, tmp_path, wait_s=0) == 2
        assert f"group '{group}' has members" in output(tmp_path)
    source.faults.skew_clock(monotonic_ms=60_000)
    with producer(source.bootstrap, transactional_id=names("t")) as open_one:
        open_one.init_transactions()
        open_one.begin_transaction()
        open_one.produce(topic, b"open", partition=0)
        open_one.flush()
        assert migrate(source, kafka, tmp_path) == 2
        assert f"{topic}-0 has an open transaction" in output(tmp_path)
        open_one.abort_transaction()
    assert migrate(source, kafka, tmp_path, dry_run=True) == 0
    assert "nothing was changed" in output(tmp_path)
    make_topic(kafka.bootstrap, topic, partitions=2)
    put(kafka.bootstrap, topic, [b"foreign"])
    assert migrate(source, kafka, tmp_path) == 2
    assert "that this migration did not write" in output(tmp_path)
