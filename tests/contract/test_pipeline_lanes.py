"""Lanes: several transactions of one worker at the same time, over different partitions."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pytest
from confluent_kafka import Message, TopicPartition
from tests.support.brokers import Cluster, Names
from tests.support.clients import WAIT_S, consumer, eventually, make_topic, transactional
from tests.support.pipeline import POINTS, RunningLoop, SupervisedWorkers, put, read_until, values

from tallystick.errors import FencedError
from tallystick.pipeline import Emit, Idempotent, Output, Record, places

pytestmark = pytest.mark.timeout(300)
PARTITIONS = 4
INPUTS = [b"%d" % number for number in range(600)]
EVENTS = [b'{"n":%d}' % number for number in range(600)]


def pair(kafka: Cluster, names: Names) -> tuple[str, str]:
    return (
        make_topic(kafka.bootstrap, names("in"), partitions=PARTITIONS),
        make_topic(kafka.bootstrap, names("out"), partitions=PARTITIONS),
    )


class Copies:
    """Processors that copy, one for each lane; ``before`` is called with each batch."""

    idempotent = Idempotent.NO_EFFECT

    def __init__(self, target: str) -> None:
        self._target = target
        self.made: list[int] = []

    def __call__(self) -> Copies:
        self.made.append(threading.get_ident())
        return self

    def before(self, records: Sequence[Record]) -> None:
        """Nothing."""

    def process(self, records: Sequence[Record]) -> Sequence[Sequence[Output]]:
        self.before(records)
        return [[Output(self._target, one.key, one.value, one.event_id)] for one in records]

    def close(self) -> None:
        """Nothing is held."""


def test_each_partition_is_worked_on_by_one_thread_and_each_input_counts_once(kafka: Cluster, names: Names) -> None:
    source, target = pair(kafka, names)
    threads: defaultdict[int, set[str]] = defaultdict(set)

    def copy(record: Record) -> Emit:
        threads[record.partition].add(threading.current_thread().name)
        return Emit(target, record.key, record.value)

    put(kafka.bootstrap, source, INPUTS)
    group = names("lanes")
    with RunningLoop(kafka.bootstrap, group, source, copy, lanes=2, batch_records=10) as running:
        messages = read_until(kafka.bootstrap, target, lambda found: len(found) >= len(INPUTS))
    assert running.raised is None
    assert Counter(values(messages)) == Counter(INPUTS)
    assert threads == {number: {f"{group}-lane-{number % 2}"} for number in range(PARTITIONS)}
    assert running.loop.counters.records_in == len(INPUTS)


def test_an_abort_in_one_lane_leaves_the_commits_of_the_others_alone(kafka: Cluster, names: Names) -> None:
    source, target = pair(kafka, names)
    put(kafka.bootstrap, source, INPUTS[:200])
    others_are_done = threading.Event()
    copies = Copies(target)
    failures = [RuntimeError("once")]

    def fail_in_partition_0(records: Sequence[Record]) -> None:
        if records[0].partition == 0 and failures:
            assert others_are_done.wait(WAIT_S)
            raise failures.pop()

    copies.before = fail_in_partition_0  # type: ignore[method-assign]
    with RunningLoop(kafka.bootstrap, names("abort"), source, factory=copies, lanes=4, batch_records=10) as running:
        in_partition_0 = len(_read_partition(kafka, source, 0))
        read_until(kafka.bootstrap, target, lambda found: len(found) == 200 - in_partition_0)
        others_are_done.set()
        messages = read_until(kafka.bootstrap, target, lambda found: len(found) >= 200)
    assert Counter(values(messages)) == Counter(INPUTS[:200])
    assert running.loop.counters.aborts == {"step-failed": 1}
    assert len(set(copies.made)) == 4


@pytest.mark.parametrize("assignor", ["range", "cooperative-sticky"])
@pytest.mark.parametrize("lanes", [1, 3])
def test_members_hand_partitions_over_and_each_input_counts_once(
    kafka: Cluster, names: Names, assignor: str, lanes: int
) -> None:
    source, target = pair(kafka, names)
    group = names("two")
    put(kafka.bootstrap, source, INPUTS[:300])
    config = {"partition.assignment.strategy": assignor}

    def copy(record: Record) -> Emit:
        return Emit(target, record.key, record.value)

    with RunningLoop(
        kafka.bootstrap, group, source, copy, slot="a", consumer_config=config, batch_records=1, lanes=lanes
    ) as one:
        read_until(kafka.bootstrap, target, lambda found: len(found) >= 20, quiet_s=0)
        with RunningLoop(
            kafka.bootstrap, group, source, copy, slot="b", consumer_config=config, batch_records=1, lanes=4
        ) as two:
            later = iter(INPUTS[300:])

            def second_has_its_share() -> bool:
                put(kafka.bootstrap, source, islice(later, 2))
                return two.loop.counters.records_in > 0

            eventually(second_has_its_share)
            put(kafka.bootstrap, source, later)
        messages = read_until(kafka.bootstrap, target, lambda found: len(set(values(found))) == len(INPUTS))
    assert (one.raised, two.raised) == (None, None)
    assert Counter(values(messages)) == Counter(INPUTS)


def test_fewer_lanes_settle_what_the_former_ones_left_open(kafka: Cluster, names: Names) -> None:
    source, target = pair(kafka, names)
    group = names("fewer")
    put(kafka.bootstrap, source, INPUTS[:100])

    def copy(record: Record) -> Emit:
        return Emit(target, record.key, record.value)

    with RunningLoop(kafka.bootstrap, group, source, copy, lanes=4):
        read_until(kafka.bootstrap, target, lambda found: len(found) >= 100)
    # As lane 3 looks to the broker when its process is killed before the end of a transaction.
    left_open = transactional(kafka.bootstrap, f"{group}/slot-0/3", transaction_timeout_ms=600_000)
    left_open.begin_transaction()
    left_open.produce(target, b"never", partition=0)
    with consumer(kafka.bootstrap, group) as reader:
        metadata = reader.consumer_group_metadata()
        left_open.send_offsets_to_transaction([TopicPartition(source, 3, 0)], metadata, WAIT_S)
    left_open.flush(WAIT_S)
    put(kafka.bootstrap, source, INPUTS[100:200])
    with RunningLoop(kafka.bootstrap, group, source, copy, lanes=1) as running:
        messages = read_until(kafka.bootstrap, target, lambda found: len(found) >= 200)
    assert running.raised is None
    assert Counter(values(messages)) == Counter(INPUTS[:200])


def test_a_zombie_lane_stops_its_worker_and_writes_nothing_more(kafka: Cluster, names: Names) -> None:
    source, target = pair(kafka, names)
    group = names("zombie")
    put(kafka.bootstrap, source, INPUTS[:40])
    asleep, wake = threading.Event(), threading.Event()

    def sleepy(record: Record) -> Emit:
        asleep.set()
        wake.wait(WAIT_S)
        return Emit(target, record.key, b"zombie")

    def copy(record: Record) -> Emit:
        return Emit(target, record.key, record.value)

    with RunningLoop(kafka.bootstrap, group, source, sleepy, lanes=4) as zombie:
        assert asleep.wait(WAIT_S)
        with RunningLoop(kafka.bootstrap, group, source, copy, lanes=2) as heir:
            read_until(kafka.bootstrap, target, lambda found: len(found) >= 40)
            wake.set()
            zombie.join()
            put(kafka.bootstrap, source, INPUTS[40:80])
            messages = read_until(kafka.bootstrap, target, lambda found: len(found) >= 80)
    assert isinstance(zombie.raised, FencedError)
    assert heir.raised is None
    assert Counter(values(messages)) == Counter(INPUTS[:80])


@pytest.mark.parametrize("point", POINTS)
def test_a_worker_with_lanes_killed_at_a_kill_point_repeats_and_loses_nothing(
    kafka: Cluster, names: Names, tmp_path: Path, point: str
) -> None:
    prefix = names("kill")
    source, target = _topics(kafka, prefix)
    put(kafka.bootstrap, source, EVENTS)
    with SupervisedWorkers(
        kafka.bootstrap, prefix, tmp_path, kill_at=f"{point}:5", lanes=3, partitions=PARTITIONS
    ) as workers:
        messages = read_until(kafka.bootstrap, target, lambda found: len(set(values(found))) == len(EVENTS))
        assert workers.kills() == [point]
        assert workers.stop() == 0
    assert Counter(values(messages)) == Counter(EVENTS)


def test_lanes_grow_and_shrink_between_starts_and_kills_without_loss_or_repetition(
    kafka: Cluster, names: Names, tmp_path: Path
) -> None:
    prefix = names("grow")
    source, target = _topics(kafka, prefix)
    for run, (lanes, point) in enumerate(
        [(1, places.AFTER_PRODUCE), (4, places.AFTER_OFFSETS), (2, places.BEFORE_COMMIT)]
    ):
        folder = tmp_path / str(run)
        folder.mkdir()
        put(kafka.bootstrap, source, EVENTS[run * 200 : run * 200 + 200])
        with SupervisedWorkers(
            kafka.bootstrap, prefix, folder, kill_at=f"{point}:2", lanes=lanes, partitions=PARTITIONS
        ) as workers:
            messages = read_until(
                kafka.bootstrap,
                target,
                lambda found, run=run: len(set(values(found))) == run * 200 + 200,  # type: ignore[misc]
            )
            assert workers.kills() == [point]
            assert workers.stop() == 0
    assert Counter(values(messages)) == Counter(EVENTS)


def _topics(kafka: Cluster, prefix: str) -> tuple[str, str]:
    for letter in "abc":
        make_topic(kafka.bootstrap, f"{prefix}-{letter}", partitions=PARTITIONS)
    return f"{prefix}-a", f"{prefix}-c"


def _read_partition(kafka: Cluster, topic: str, partition: int) -> list[Message]:
    everything = read_until(kafka.bootstrap, topic, lambda found: len(found) >= 200)
    return [message for message in everything if message.partition() == partition]
