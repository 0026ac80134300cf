"""Rules of fencing, positions and time that the pure tests hold too, on real brokers: where they count."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tests.support.brokers import Cluster, Names
from tests.support.clients import (
    assigned,
    committed,
    consumer,
    eventually,
    make_topic,
    poll_until,
    producer,
    transactional,
)
from tests.support.pipeline import RunningLoop, put, read_until, values

from tallystick.pipeline import Emit, Idempotent, Output, Record

PATIENT: dict[str, Any] = {"session.timeout.ms": 30_000}
PATIENT_PRODUCER: dict[str, Any] = {"transaction.timeout.ms": 25_000}


class Held:
    """A handler that copies, and stands still at the first record that says ``slow`` until it may go on."""

    def __init__(self, target: str) -> None:
        self.reached, self.may_go_on = threading.Event(), threading.Event()
        self._target = target

    def __call__(self, record: Record) -> Emit:
        if record.value == b"slow" and not self.reached.is_set():
            self.reached.set()
            assert self.may_go_on.wait(60)
        return Emit(self._target, record.key, record.value)


class FailsAt:
    """A processor that copies, and fails once, at the batch that has this value."""

    idempotent = Idempotent.NO_EFFECT

    def __init__(self, target: str, value: bytes) -> None:
        self._target = target
        self._value: bytes | None = value

    def process(self, records: Sequence[Record]) -> Sequence[Sequence[Output]]:
        if self._value in [record.value for record in records]:
            self._value = None
            raise RuntimeError("once")
        return [[Output(self._target, record.key, record.value, record.event_id)] for record in records]

    def close(self) -> None:
        """Nothing is held."""


def put_into(kafka: Cluster, topic: str, partition: int, value: bytes) -> None:
    client = producer(kafka.bootstrap)
    client.produce(topic, value, value, partition)
    assert client.flush(30) == 0


def pair(kafka: Cluster, names: Names, *, partitions: int) -> tuple[str, str]:
    return (
        make_topic(kafka.bootstrap, names("in"), partitions=partitions),
        make_topic(kafka.bootstrap, names("out"), partitions=partitions),
    )


def test_a_transaction_that_was_open_when_the_group_moved_on_is_aborted_and_done_again(
    kafka: Cluster, names: Names
) -> None:
    """Rule 1: the partition stays where it is, and the generation is another one."""
    source, target = pair(kafka, names, partitions=2)
    group, handler = names("moved"), Held(target)
    strategy = {"partition.assignment.strategy": "cooperative-sticky"}
    with RunningLoop(
        kafka.bootstrap, group, source, handler, lanes=2, consumer_config=PATIENT | strategy,
        producer_config=PATIENT_PRODUCER,
    ) as running:  # fmt: skip
        eventually(lambda: running.loop.counters.assignments > 0)
        with consumer(kafka.bootstrap, group, partition_assignment_strategy="cooperative-sticky") as guest:
            guest.subscribe([source])
            poll_until([guest], lambda: len(assigned(guest)) == 1)
            put_into(kafka, source, 1 - assigned(guest)[0], b"slow")
            poll_until([guest], handler.reached.is_set)
            before = running.loop.counters.assignments
        eventually(lambda: running.loop.counters.assignments > before)  # the guest is gone
        handler.may_go_on.set()
        messages = read_until(kafka.bootstrap, target, lambda found: len(found) >= 1)
    assert running.raised is None
    assert values(messages) == [b"slow"]
    assert running.loop.counters.records_replayed == 1
    assert running.loop.counters.aborts == {"assignment": 1}


def test_a_partition_is_handed_over_when_the_transaction_that_is_open_in_it_has_ended(
    kafka: Cluster, names: Names
) -> None:
    """Rule 4: who gets it begins behind what was at work."""
    source, target = pair(kafka, names, partitions=2)
    group, handler = names("drained"), Held(target)
    with (
        RunningLoop(
            kafka.bootstrap, group, source, handler, lanes=2,
            consumer_config=PATIENT, producer_config=PATIENT_PRODUCER,
        ) as running,
        consumer(kafka.bootstrap, group, partition_assignment_strategy="range") as guest,
    ):  # fmt: skip
        for partition in (0, 1):
            put_into(kafka, source, partition, b"slow")
        assert handler.reached.wait(60)
        guest.subscribe([source])
        for _ in range(20):  # it asks to join; what it gets before the other goes on would be too early
            guest.poll(0.05)
        assert assigned(guest) == []
        handler.may_go_on.set()
        poll_until([guest], lambda: len(assigned(guest)) == 1)
        (given,) = guest.committed(guest.assignment(), timeout=30)
        messages = read_until(kafka.bootstrap, target, lambda found: len(found) >= 2)
    assert running.raised is None
    assert given.offset == 1
    assert running.loop.counters.aborts == {}
    assert values(messages) == [b"slow", b"slow"]


def test_positions_follow_the_records_over_aborted_data_markers_and_an_abort_of_our_own(
    kafka: Cluster, names: Names
) -> None:
    """Rules 8 and 9: nothing is skipped after an abort, and offsets have gaps."""
    source, target = pair(kafka, names, partitions=1)
    group = names("gaps")
    writer = transactional(kafka.bootstrap, names("writer"))
    expected = []
    for number in range(12):
        writer.begin_transaction()
        for part in range(3):
            writer.produce(source, b"%d.%d" % (number, part))
        if number % 3 == 2:
            writer.flush(30)
            writer.abort_transaction(30)
        else:
            writer.commit_transaction(30)
            expected += [b"%d.%d" % (number, part) for part in range(3)]
    processor = FailsAt(target, b"6.1")
    with RunningLoop(kafka.bootstrap, group, source, processor=processor, batch_records=5) as running:
        messages = read_until(kafka.bootstrap, target, lambda found: len(found) >= len(expected))
        eventually(lambda: list(running.loop.counters.positions.values()) == [43])  # each transaction takes four
    assert running.loop.counters.aborts == {"step-failed": 1}
    assert Counter(values(messages)) == Counter(expected)
    with consumer(kafka.bootstrap, group) as reader:
        assert committed(reader, source) == 43


def test_a_transaction_that_outlived_its_time_is_done_again_by_a_new_producer(kafka: Cluster, names: Names) -> None:
    """Rule 14: the coordinator may have aborted it, so that its end is not asked for."""
    source, target = pair(kafka, names, partitions=1)
    put(kafka.bootstrap, source, [b"slow", b"quick"])
    late = threading.Event()

    def copy(record: Record) -> Emit:
        if not late.is_set():
            late.set()
            assert not threading.Event().wait(4.0)  # longer than its time
        return Emit(target, record.key, record.value)

    with RunningLoop(
        kafka.bootstrap, names("late"), source, copy, producer_config={"transaction.timeout.ms": 3_000}
    ) as running:
        messages = read_until(kafka.bootstrap, target, lambda found: len(found) >= 2)
    assert running.raised is None
    assert Counter(values(messages)) == Counter([b"slow", b"quick"])
    assert running.loop.counters.producers_discarded["deadline"] >= 1
