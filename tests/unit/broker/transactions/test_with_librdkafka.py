"""Real librdkafka transactions through a real broker process, with real kills."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tallystick.broker import EmbeddedBroker
from tallystick.broker.transactions import completion
from tallystick.killpoints import ENV_KILL_AT

TIMEOUT_S = 30.0


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    """One broker for the tests that kill nothing."""
    with EmbeddedBroker() as running:
        yield running


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """A broker that a test may kill; not started yet."""
    broker = EmbeddedBroker(tmp_path / "data")
    yield broker
    broker.stop()


def quiet(**settings: Any) -> dict[str, Any]:
    return {"log_level": 0, "reconnect.backoff.max.ms": 200} | {k.replace("_", "."): v for k, v in settings.items()}


def make_topic(broker: EmbeddedBroker, name: str, partitions: int = 2) -> str:
    admin = AdminClient(quiet(bootstrap_servers=broker.bootstrap))
    for future in admin.create_topics([NewTopic(name, partitions, 1)]).values():
        future.result(timeout=TIMEOUT_S)
    return name


def transactional(broker: EmbeddedBroker, transactional_id: str, **settings: Any) -> Producer:
    producer = Producer(quiet(bootstrap_servers=broker.bootstrap, transactional_id=transactional_id, **settings))
    producer.init_transactions(TIMEOUT_S)
    return producer


def write(producer: Producer, topic: str, *values: str) -> None:
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value.encode(), key=value.encode())


def flush(producer: Producer) -> None:
    assert producer.flush(TIMEOUT_S) == 0


def committed_values(broker: EmbeddedBroker, topic: str, partitions: int = 2) -> list[str]:
    """Everything that a read-committed reader sees, up to the last stable offset of each partition, sorted."""
    consumer = Consumer(
        quiet(
            bootstrap_servers=broker.bootstrap,
            group_id="reader",
            isolation_level="read_committed",
            enable_auto_commit=False,
        )
        | {"enable.partition.eof": True}
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    values: list[str] = []
    ended: set[int | None] = set()
    deadline = time.monotonic() + TIMEOUT_S
    while len(ended) < partitions:
        assert time.monotonic() < deadline, "the reader did not come to an end"
        message = consumer.poll(0.2)
        if message is None:
            continue
        error = message.error()
        if error is None:
            values.append((message.value() or b"").decode())
        elif error.code() == KafkaError._PARTITION_EOF:
            ended.add(message.partition())
        else:
            raise KafkaException(error)
    consumer.close()
    return sorted(values)


def await_condition(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_what_is_committed_is_seen_and_what_is_aborted_is_not(broker: EmbeddedBroker) -> None:
    topic = make_topic(broker, "commit-and-abort")
    producer = transactional(broker, "commit-and-abort")
    write(producer, topic, "a", "b", "c")
    producer.commit_transaction(TIMEOUT_S)
    write(producer, topic, "x", "y")
    flush(producer)
    producer.abort_transaction(TIMEOUT_S)
    write(producer, topic, "d")
    producer.commit_transaction(TIMEOUT_S)
    assert committed_values(broker, topic) == ["a", "b", "c", "d"]


def test_an_open_transaction_holds_readers_back(broker: EmbeddedBroker) -> None:
    topic = make_topic(broker, "open")
    producer = transactional(broker, "open")
    write(producer, topic, "a")
    flush(producer)
    assert committed_values(broker, topic) == []
    producer.commit_transaction(TIMEOUT_S)
    assert committed_values(broker, topic) == ["a"]


def test_read_process_write_commits_outputs_and_offsets_together(broker: EmbeddedBroker) -> None:
    source, target = make_topic(broker, "in"), make_topic(broker, "out")
    plain = Producer(quiet(bootstrap_servers=broker.bootstrap))
    for number in range(40):
        plain.produce(source, str(number).encode(), key=str(number).encode())
    flush(plain)
    consumer = Consumer(
        quiet(
            bootstrap_servers=broker.bootstrap,
            group_id="read-process-write",
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            group_instance_id="slot-0",
        )
    )
    consumer.subscribe([source])
    producer = transactional(broker, "read-process-write")
    done, aborted, deadline = 0, 0, time.monotonic() + TIMEOUT_S
    while done < 40:
        assert time.monotonic() < deadline
        messages = consumer.consume(7, 0.5)
        if not messages:
            continue
        producer.begin_transaction()
        for message in messages:
            assert message.error() is None
            producer.produce(target, message.value(), key=message.key())
        positions = [p for p in consumer.position(consumer.assignment()) if p.offset >= 0]
        producer.send_offsets_to_transaction(positions, consumer.consumer_group_metadata(), TIMEOUT_S)
        if aborted < 2:
            aborted += 1
            producer.abort_transaction(TIMEOUT_S)
            for kept in consumer.committed(consumer.assignment(), TIMEOUT_S):
                consumer.seek(TopicPartition(source, kept.partition, max(kept.offset, 0)))
        else:
            producer.commit_transaction(TIMEOUT_S)
            done += len(messages)
    committed = consumer.committed([TopicPartition(source, 0), TopicPartition(source, 1)], TIMEOUT_S)
    consumer.close()
    assert committed_values(broker, target) == sorted(str(number) for number in range(40))
    assert sum(p.offset for p in committed) == 40


def test_a_zombie_is_fenced_and_its_open_transaction_is_gone(broker: EmbeddedBroker) -> None:
    topic = make_topic(broker, "zombie")
    zombie = transactional(broker, "zombie")
    write(zombie, topic, "zombie")
    flush(zombie)
    successor = transactional(broker, "zombie")
    write(successor, topic, "successor")
    with pytest.raises(KafkaException) as fenced:
        zombie.commit_transaction(TIMEOUT_S)
    assert fenced.value.args[0].code() in {KafkaError._FENCED, KafkaError.PRODUCER_FENCED}
    assert fenced.value.args[0].fatal()
    successor.commit_transaction(TIMEOUT_S)
    assert committed_values(broker, topic) == ["successor"]


def test_a_transaction_past_its_timeout_is_aborted_for_the_producer(broker: EmbeddedBroker) -> None:
    topic = make_topic(broker, "timeout")
    slow = transactional(broker, "timeout", transaction_timeout_ms=1_000)
    write(slow, topic, "late")
    flush(slow)
    other = transactional(broker, "timeout-other")
    write(other, topic, "in time")
    other.commit_transaction(TIMEOUT_S)
    await_condition(lambda: committed_values(broker, topic) == ["in time"], "the timeout did not abort")
    with pytest.raises(KafkaException):
        slow.commit_transaction(TIMEOUT_S)


def test_an_open_transaction_survives_a_kill_and_can_be_committed(own_broker: EmbeddedBroker) -> None:
    own_broker.start()
    topic = make_topic(own_broker, "survives")
    producer = transactional(own_broker, "survives")
    write(producer, topic, "before")
    flush(producer)
    own_broker.kill()
    own_broker.start()
    producer.produce(topic, b"after", key=b"after")
    producer.commit_transaction(TIMEOUT_S)
    assert committed_values(own_broker, topic) == ["after", "before"]


def test_a_producer_goes_on_over_a_kill_between_its_transactions(own_broker: EmbeddedBroker) -> None:
    own_broker.start()
    topic = make_topic(own_broker, "between")
    producer = transactional(own_broker, "between")
    expected = []
    for number in range(2):
        write(producer, topic, f"value {number}")
        producer.commit_transaction(TIMEOUT_S)
        expected.append(f"value {number}")
        own_broker.kill()
        own_broker.start()
        assert committed_values(own_broker, topic) == expected


@pytest.mark.parametrize("commit", [True, False])
@pytest.mark.parametrize(
    "kill_point",
    [completion.KILL_AFTER_PREPARE, completion.KILL_AFTER_MARKERS, completion.KILL_BEFORE_COMPLETE],
)
def test_a_kill_in_the_middle_of_the_end_is_completed_at_the_restart(
    own_broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch, kill_point: str, commit: bool
) -> None:
    monkeypatch.setenv(ENV_KILL_AT, f"{kill_point}:2")
    own_broker.start()
    monkeypatch.delenv(ENV_KILL_AT)
    topic = make_topic(own_broker, "middle")
    consumer = Consumer(quiet(bootstrap_servers=own_broker.bootstrap, group_id="g", enable_auto_commit=False))
    producer = transactional(own_broker, "middle", transaction_timeout_ms=60_000)
    write(producer, topic, "first")
    producer.commit_transaction(TIMEOUT_S)
    write(producer, topic, "second", "third")
    offsets = [TopicPartition(topic, 0, 100)]
    producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), TIMEOUT_S)
    flush(producer)
    end = producer.commit_transaction if commit else producer.abort_transaction
    with pytest.raises(KafkaException) as unanswered:
        end(1.0)  # the kill comes before the answer
    assert unanswered.value.args[0].retriable()
    assert own_broker.wait(TIMEOUT_S) == -9
    own_broker.restart()
    # Completed by the recovery, before the producer comes again:
    expected = ["first", "second", "third"] if commit else ["first"]
    assert committed_values(own_broker, topic) == expected
    assert consumer.committed([TopicPartition(topic, 0)], TIMEOUT_S)[0].offset == (100 if commit else -1001)
    end(TIMEOUT_S)
    write(producer, topic, "x")
    producer.commit_transaction(TIMEOUT_S)
    consumer.close()
    assert committed_values(own_broker, topic) == [*expected, "x"]
