"""Workers that die anywhere: every input counts once, under exactly-once."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from confluent_kafka import Message
from tests.support.brokers import Cluster, Names
from tests.support.clients import eventually, make_topic
from tests.support.pipeline import POINTS, SupervisedWorkers, header, put, read_until, values

from tallystick.ids import EVENT_ID_HEADER
from tallystick.pipeline import places

INPUTS = [b'{"n":%d}' % number for number in range(600)]


def topics(kafka: Cluster, prefix: str) -> tuple[str, str]:
    for letter in "abc":
        make_topic(kafka.bootstrap, f"{prefix}-{letter}", partitions=2)
    return f"{prefix}-a", f"{prefix}-c"


def all_there(messages: list[Message]) -> bool:
    return len(set(values(messages))) == len(INPUTS)


def assert_each_once(messages: list[Message]) -> None:
    counts = Counter(values(messages))
    assert {value: count for value, count in counts.items() if count != 1} == {}
    assert set(counts) == set(INPUTS)
    assert len({header(message, EVENT_ID_HEADER) for message in messages}) == len(INPUTS)


@pytest.mark.parametrize("point", POINTS)
def test_a_worker_killed_at_a_kill_point_repeats_and_loses_nothing(
    kafka: Cluster, names: Names, tmp_path: Path, point: str
) -> None:
    prefix = names("kill")
    source, target = topics(kafka, prefix)
    put(kafka.bootstrap, source, INPUTS)
    with SupervisedWorkers(kafka.bootstrap, prefix, tmp_path, kill_at=f"{point}:3") as workers:
        messages = read_until(kafka.bootstrap, target, all_there)
        assert workers.kills() == [point]
        assert workers.stop() == 0
    assert_each_once(messages)


def test_a_killed_worker_has_its_partitions_back_before_its_session_expires(
    kafka: Cluster, names: Names, tmp_path: Path
) -> None:
    prefix = names("back")
    source, target = topics(kafka, prefix)
    put(kafka.bootstrap, source, INPUTS[:300])
    with SupervisedWorkers(kafka.bootstrap, prefix, tmp_path, workers=2) as workers:
        read_until(kafka.bootstrap, target, lambda messages: len(messages) >= 300)
        killed = workers.kill("w-0")
        put(kafka.bootstrap, source, INPUTS[300:])
        messages = read_until(kafka.bootstrap, target, all_there)
        assert workers.pid("w-0") != killed
        assert workers.stop() == 0
    assert_each_once(messages)
    lost = [event for event in workers.log_events() if event["event"] == "lost"]
    assert lost == []


def test_a_killed_broker_costs_nothing(kafka: Cluster, names: Names, tmp_path: Path) -> None:
    prefix = names("broker")
    source, target = topics(kafka, prefix)
    put(kafka.bootstrap, source, INPUTS[:300])
    with SupervisedWorkers(kafka.bootstrap, prefix, tmp_path) as workers:
        read_until(kafka.bootstrap, target, lambda messages: len(messages) >= 100, quiet_s=0)
        kafka.kill()
        kafka.restart()
        put(kafka.bootstrap, source, INPUTS[300:])
        messages = read_until(kafka.bootstrap, target, all_there)
        assert workers.stop() == 0
    assert_each_once(messages)


def test_a_worker_whose_supervisor_died_stops_by_itself(kafka: Cluster, names: Names, tmp_path: Path) -> None:
    prefix = names("orphan")
    topics(kafka, prefix)
    with SupervisedWorkers(kafka.bootstrap, prefix, tmp_path) as workers:
        eventually(lambda: workers.pid("w-0") is not None)
        pid = workers.pid("w-0")
        assert pid is not None
        workers.kill_supervisor()
        eventually(lambda: not alive(pid))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return (Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_the_stats_file_says_what_each_incarnation_did(kafka: Cluster, names: Names, tmp_path: Path) -> None:
    prefix = names("stats")
    source, target = topics(kafka, prefix)
    put(kafka.bootstrap, source, INPUTS)
    with SupervisedWorkers(kafka.bootstrap, prefix, tmp_path, kill_at=f"{places.BEFORE_COMMIT}:4") as workers:
        read_until(kafka.bootstrap, target, all_there)
        assert workers.stop() == 0
    lines = workers.stats("w-0")
    assert len({line["pid"] for line in lines}) == 2
    ended = [line for line in lines if line["event"] == "ended"]
    assert {line["step"] for line in ended} == {"one", "two"}
    assert all(line["commits"] > 0 for line in ended)
