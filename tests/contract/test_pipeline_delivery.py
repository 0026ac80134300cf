"""The exactly-once loop against a broker: outputs, ids, failures, starts, fencing."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import OffsetSpec
from tests.support.brokers import Cluster, Names
from tests.support.clients import (
    committed,
    committed_place,
    consumer,
    end_offset,
    eventually,
    make_topic,
    producer,
    read_all,
)
from tests.support.pipeline import RunningLoop, header, put, read_until, values

from tallystick.errors import ConfigurationError, FencedError
from tallystick.ids import EVENT_ID_HEADER, derived_id, deterministic_id, parse_event_id
from tallystick.operate import ClientSettings
from tallystick.operate import Cluster as OperatedCluster
from tallystick.operate.groups import CommittedOffset, set_offsets
from tallystick.pipeline import STOP, Emit, ErrorPolicy, Idempotent, Output, Record, StoppedByPolicy
from tallystick.pipeline.kafka_client import Cluster as KafkaCluster
from tallystick.pipeline.starts import OffsetNote

INPUTS = [b"%d" % number for number in range(500)]


class CopyTo:
    """A batch processor that copies, and fails when it is told to."""

    idempotent = Idempotent.NO_EFFECT

    def __init__(self, target: str) -> None:
        self._target = target
        self.failures: list[BaseException] = []
        self.bad: set[bytes] = set()

    def process(self, records: Sequence[Record]) -> Sequence[Sequence[Output]]:
        if self.failures:
            raise self.failures.pop(0)
        for record in records:
            if record.value in self.bad:
                raise ValueError(f"{record.value!r} is bad")
        return [[Output(self._target, record.key, record.value, record.event_id)] for record in records]

    def close(self) -> None:
        """Nothing is held."""


def copy_to(target: str) -> Any:
    return lambda record: Emit(target, record.key, record.value)


def pair(kafka: Cluster, names: Names, *, partitions: int = 2) -> tuple[str, str]:
    return (
        make_topic(kafka.bootstrap, names("in"), partitions=partitions),
        make_topic(kafka.bootstrap, names("out"), partitions=partitions),
    )


def committed_offsets(kafka: Cluster, group: str, topic: str, partitions: int = 2) -> list[int]:
    with consumer(kafka.bootstrap, group, isolation_level="read_committed") as reader:
        return [committed(reader, topic, partition=number) for number in range(partitions)]


def test_every_input_is_written_once_and_its_offset_committed(kafka: Cluster, names: Names) -> None:
    source, target = pair(kafka, names)
    put(kafka.bootstrap, source, INPUTS)
    group = names("copy")
    with RunningLoop(kafka.bootstrap, group, source, copy_to(target)) as running:
        messages = read_until(kafka.bootstrap, target, lambda found: len(found) >= len(INPUTS))
    assert running.raised is None
    assert Counter(values(messages)) == Counter(INPUTS)
    assert sum(committed_offsets(kafka, group, source)) == len(INPUTS)
    assert running.loop.counters.records_in == len(INPUTS)


def test_an_output_carries_an_id_derived_from_its_inputs(kafka: Cluster, names: Names) -> None:
    source, target = pair(kafka, names)
    given = deterministic_id("test", "given")
    put(kafka.bootstrap, source, [b"positioned"])
    client = producer(kafka.bootstrap)
    client.produce(source, b"given", headers=[(EVENT_ID_HEADER, given.encode())])
    client.flush()
    group = names("ids")
    with RunningLoop(kafka.bootstrap, group, source, copy_to(target)):
        messages = read_until(kafka.bootstrap, target, lambda found: len(found) == 2)
    ids = {message.value(): parse_event_id(header(message, EVENT_ID_HEADER)) for message in messages}
    assert ids[b"given"] == derived_id(given, group, 0)
    assert ids[b"positioned"] != ids[b"given"]


def test_a_position_gives_the_same_id_in_every_group(kafka: Cluster, names: Names) -> None:
    source, target = pair(kafka, names)
    put(kafka.bootstrap, source, [b"one"])
    seen: list[str] = []

    def keep(record: Record) -> None:
        seen.append(record.event_id)

    for group in (names("first"), names("second")):
        before = len(seen)
        with RunningLoop(kafka.bootstrap, group, source, keep):
            eventually(lambda before=before: len(seen) > before)  # type: ignore[misc]
    assert len(set(seen)) == 1
    assert target


def test_an_error_in_a_batch_aborts_it_and_shows_none_of_it(kafka: Cluster, names: Names) -> None:
    source, target = pair(kafka, names)
    put(kafka.bootstrap, source, INPUTS[:50])
    processor = CopyTo(target)
    processor.failures = [RuntimeError("once")]
    with RunningLoop(kafka.bootstrap, names("abort"), source, processor=processor) as running:
        messages = read_until(kafka.bootstrap, target, lambda found: len(found) >= 50)
    assert Counter(values(messages)) == Counter(INPUTS[:50])
    assert running.loop.counters.aborts == {"step-failed": 1}
    assert running.loop.counters.records_replayed > 0


def test_a_record_that_keeps_failing_becomes_a_dead_letter_and_the_others_pass(kafka: Cluster, names: Names) -> None:
    source, target = pair(kafka, names)
    group = names("letters")
    make_topic(kafka.bootstrap, f"{group}.dead-letter")
    put(kafka.bootstrap, source, INPUTS[:20])
    processor = CopyTo(target)
    processor.bad = {b"7"}
    with RunningLoop(kafka.bootstrap, group, source, processor=processor, on_error=ErrorPolicy(tries=2)) as running:
        messages = read_until(
            kafka.bootstrap, [target, f"{group}.dead-letter"], lambda found: len(found) >= 20, quiet_s=2
        )
    letters = [message for message in messages if message.topic() != target]
    assert values(letters) == [b"7"]
    assert header(letters[0], "tallystick-failure-cause") == b"builtins.ValueError: b'7' is bad"
    assert header(letters[0], "tallystick-failure-topic") == source.encode()
    assert header(letters[0], "tallystick-failure-tries") == b"2"
    assert Counter(values(messages)) == Counter(INPUTS[:20])
    assert running.loop.counters.dead_letters == 1


def test_a_dead_letter_is_in_the_transaction_of_its_offset(kafka: Cluster, names: Names) -> None:
    source = make_topic(kafka.bootstrap, names("in"))
    group = names("one-transaction")
    letters = make_topic(kafka.bootstrap, f"{group}.dead-letter")
    put(kafka.bootstrap, source, [b"bad"])

    def fail(_record: Record) -> None:
        raise ValueError("never")

    with RunningLoop(kafka.bootstrap, group, source, fail):
        read_until(kafka.bootstrap, letters, lambda found: len(found) == 1)
    assert committed_offsets(kafka, group, source, partitions=1) == [1]
    # The record and the marker of its transaction, and nothing else: it was written once.
    assert end_offset(kafka.bootstrap, letters, OffsetSpec.latest()) == 2


def test_a_record_with_a_broken_event_id_is_a_dead_letter(kafka: Cluster, names: Names) -> None:
    source, target = pair(kafka, names)
    group = names("broken-id")
    client = producer(kafka.bootstrap)
    client.produce(source, b"broken", headers=[(EVENT_ID_HEADER, b"no-uuid")])
    client.flush()
    put(kafka.bootstrap, source, [b"whole"])
    make_topic(kafka.bootstrap, f"{group}.dead-letter")
    with RunningLoop(kafka.bootstrap, group, source, copy_to(target)):
        messages = read_until(kafka.bootstrap, [target, f"{group}.dead-letter"], lambda found: len(found) == 2)
    assert {message.topic(): message.value() for message in messages} == {
        target: b"whole",
        f"{group}.dead-letter": b"broken",
    }


def test_an_output_too_large_for_kafka_blames_its_record(kafka: Cluster, names: Names) -> None:
    source, target = pair(kafka, names, partitions=1)
    group = names("large")
    make_topic(kafka.bootstrap, f"{group}.dead-letter")
    put(kafka.bootstrap, source, [b"a", b"large", b"b"])

    def grow(record: Record) -> Emit:
        return Emit(target, record.key, b"x" * 3_000_000 if record.value == b"large" else record.value)

    with RunningLoop(kafka.bootstrap, group, source, grow, on_error=ErrorPolicy(tries=2)):
        messages = read_until(
            kafka.bootstrap, [target, f"{group}.dead-letter"], lambda found: len(found) == 3, quiet_s=2
        )
    assert {(message.topic(), message.value()) for message in messages} == {
        (target, b"a"),
        (target, b"b"),
        (f"{group}.dead-letter", b"large"),
    }


def test_a_policy_to_stop_leaves_the_record_and_its_offset_alone(kafka: Cluster, names: Names) -> None:
    source, target = pair(kafka, names, partitions=1)
    put(kafka.bootstrap, source, [b"bad"])
    group = names("stop")
    processor = CopyTo(target)
    processor.bad = {b"bad"}
    with RunningLoop(kafka.bootstrap, group, source, processor=processor, on_error=STOP) as running:
        running.join()
    assert isinstance(running.raised, StoppedByPolicy)
    assert running.raised.place == f"{source}-0@0"
    assert committed_offsets(kafka, group, source, partitions=1) == [0]


def test_two_members_share_the_partitions_and_each_input_counts_once(kafka: Cluster, names: Names) -> None:
    source, target = pair(kafka, names, partitions=4)
    group = names("two")
    put(kafka.bootstrap, source, INPUTS[:250])
    with RunningLoop(kafka.bootstrap, group, source, copy_to(target), slot="a", batch_records=20) as one:
        read_until(kafka.bootstrap, target, lambda found: len(found) >= 100, quiet_s=0)
        with RunningLoop(kafka.bootstrap, group, source, copy_to(target), slot="b", batch_records=20) as two:
            eventually(lambda: two.loop.counters.assignments > 0)
            put(kafka.bootstrap, source, INPUTS[250:])
            messages = read_until(kafka.bootstrap, target, lambda found: len(set(values(found))) == len(INPUTS))
    assert (one.raised, two.raised) == (None, None)
    assert Counter(values(messages)) == Counter(INPUTS)
    assert two.loop.counters.records_in > 0


def test_a_zombie_stops_and_writes_nothing_more(kafka: Cluster, names: Names) -> None:
    source, target = pair(kafka, names, partitions=1)
    group = names("zombie")
    put(kafka.bootstrap, source, INPUTS[:10])
    asleep, wake = threading.Event(), threading.Event()

    def sleepy(record: Record) -> Emit:
        asleep.set()
        wake.wait(30)
        return Emit(target, record.key, b"zombie")

    with RunningLoop(kafka.bootstrap, group, source, sleepy) as zombie:
        assert asleep.wait(30)
        with RunningLoop(kafka.bootstrap, group, source, copy_to(target)) as heir:
            messages = read_until(kafka.bootstrap, target, lambda found: len(found) >= 10)
            wake.set()
            zombie.join()
            put(kafka.bootstrap, source, INPUTS[10:20])
            messages = read_until(kafka.bootstrap, target, lambda found: len(found) >= 20)
    assert isinstance(zombie.raised, FencedError)
    assert heir.raised is None
    assert Counter(values(messages)) == Counter(INPUTS[:20])


def test_a_group_starts_at_the_earliest_record_and_commits_that_with_its_evidence(kafka: Cluster, names: Names) -> None:
    source, target = pair(kafka, names)
    group = names("start")
    with RunningLoop(kafka.bootstrap, group, source, copy_to(target)) as running:
        eventually(lambda: running.loop.counters.assignments == 1)
        eventually(lambda: committed_offsets(kafka, group, source) == [0, 0])
    with consumer(kafka.bootstrap, group) as reader:
        stored = committed_place(reader, source)
    assert '"format":"tallystick.1"' in (stored.metadata or "")


def test_a_note_that_a_client_of_another_kind_committed_is_read_whole(kafka: Cluster, names: Names) -> None:
    """Kafka's own clients, and a migration, end it without librdkafka's zero byte: whatever stood there followed it."""
    topic, group = make_topic(kafka.bootstrap, names("noted"), partitions=60), names("noted")
    note = OffsetNote("AAAAAAAAAAAAAAAAAAAAAA", 60)
    with OperatedCluster(ClientSettings(kafka.bootstrap)) as cluster:
        places = cluster.topics([topic])[topic].partitions
        set_offsets(cluster, group, {place: CommittedOffset(5, note.encode()) for place in places})
    reader = KafkaCluster({"bootstrap.servers": kafka.bootstrap})
    for _ in range(5):
        stored = reader.group_offsets(group, [(topic, place.partition) for place in places])
        assert {found.note for found in stored.values()} == {note}


def test_an_offset_past_the_end_stops_the_application_with_a_remedy(kafka: Cluster, names: Names) -> None:
    source, target = pair(kafka, names, partitions=1)
    group = names("range")
    put(kafka.bootstrap, source, [b"one"])
    _commit(kafka, group, source, 1000)
    with RunningLoop(kafka.bootstrap, group, source, copy_to(target)) as running:
        running.join()
    assert isinstance(running.raised, ConfigurationError)
    assert running.raised.rule == 10
    assert running.raised.remedy
    assert read_all(kafka.bootstrap, target) == []


def test_the_loop_ends_at_once_when_it_is_told(kafka: Cluster, names: Names) -> None:
    source, target = pair(kafka, names)
    with RunningLoop(kafka.bootstrap, names("end"), source, copy_to(target)) as running:
        eventually(lambda: running.loop.counters.assignments == 1)
    assert running.raised is None


def _commit(kafka: Cluster, group: str, topic: str, offset: int) -> None:
    reader = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": group, "enable.auto.commit": False})
    reader.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
    reader.close()
