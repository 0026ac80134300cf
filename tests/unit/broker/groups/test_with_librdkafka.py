"""Real librdkafka consumers in groups of a real broker process, with real kills."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, ConsumerGroupState, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tallystick.broker import EmbeddedBroker

TIMEOUT_S = 30.0
PARTITIONS = 4


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    """One broker for the tests that kill nothing."""
    with EmbeddedBroker() as running:
        yield running


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """A broker that a test may kill."""
    with EmbeddedBroker(tmp_path / "data") as running:
        yield running


class Reader:
    """A consumer that notes what it was assigned and what it lost."""

    def __init__(self, broker: EmbeddedBroker, group_id: str, topic: str, **settings: Any) -> None:
        self.topic = topic
        self.rebalances = 0
        self.errors: list[int] = []
        self.consumer = Consumer(
            {
                "bootstrap.servers": broker.bootstrap,
                "group.id": group_id,
                "log_level": 0,
                "session.timeout.ms": 6_000,
                "heartbeat.interval.ms": 200,
                "topic.metadata.refresh.interval.ms": 500,
                "reconnect.backoff.max.ms": 200,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
            }
            | {key.replace("_", "."): value for key, value in settings.items()}
        )
        self.consumer.subscribe([topic], on_assign=self._changed, on_revoke=self._changed)
        self.values: list[str] = []

    def _changed(self, _consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        self.rebalances += 1

    @property
    def partitions(self) -> set[int]:
        return {partition.partition for partition in self.consumer.assignment()}

    def poll(self) -> None:
        message = self.consumer.poll(0.02)
        if message is None:
            return
        error = message.error()
        if error is None:
            self.values.append((message.value() or b"").decode())
        else:
            self.errors.append(error.code())

    def close(self) -> None:
        self.consumer.close()


def poll_until(condition: Callable[[], bool], what: str, *readers: Reader) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, f"{what}: {[reader.partitions for reader in readers]}"
        for reader in readers:
            reader.poll()


def make_topic(broker: EmbeddedBroker, name: str) -> str:
    admin = admin_of(broker)
    for future in admin.create_topics([NewTopic(name, PARTITIONS, 1)]).values():
        future.result(timeout=TIMEOUT_S)
    return name


def admin_of(broker: EmbeddedBroker) -> AdminClient:
    return AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})


def produce(broker: EmbeddedBroker, topic: str, *values: str) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    for index, value in enumerate(values):
        producer.produce(topic, value.encode(), partition=index % PARTITIONS)
    assert producer.flush(TIMEOUT_S) == 0


@pytest.mark.parametrize("assignor", ["range", "cooperative-sticky"])
def test_two_members_share_a_topic_and_one_takes_over_when_the_other_leaves(
    broker: EmbeddedBroker, assignor: str
) -> None:
    topic = make_topic(broker, f"share-{assignor}")
    settings = {"partition_assignment_strategy": assignor}
    one = Reader(broker, f"share-{assignor}", topic, **settings)
    poll_until(lambda: len(one.partitions) == 4, "the first takes all", one)
    two = Reader(broker, f"share-{assignor}", topic, **settings)
    poll_until(lambda: len(one.partitions) == len(two.partitions) == 2, "they share", one, two)
    assert one.partitions | two.partitions == {0, 1, 2, 3}
    two.close()
    poll_until(lambda: len(one.partitions) == 4, "the first takes over", one)
    one.close()


def test_a_silent_members_partitions_go_to_the_other_after_its_session(broker: EmbeddedBroker) -> None:
    topic = make_topic(broker, "silent")
    silent = Reader(broker, "silent", topic, max_poll_interval_ms=6_000)
    other = Reader(broker, "silent", topic)
    poll_until(lambda: len(silent.partitions) == len(other.partitions) == 2, "they share", silent, other)
    poll_until(lambda: len(other.partitions) == 4, "the other takes over", other)
    silent.close()
    other.close()


def test_a_restarted_static_member_gets_its_partitions_back_and_nobody_else_notices(broker: EmbeddedBroker) -> None:
    topic = make_topic(broker, "static")
    one = Reader(broker, "static", topic, group_instance_id="one")
    two = Reader(broker, "static", topic, group_instance_id="two")
    poll_until(lambda: len(one.partitions) == len(two.partitions) == 2, "they share", one, two)
    before, rebalances = two.partitions, one.rebalances
    two.close()  # a static member does not leave
    two = Reader(broker, "static", topic, group_instance_id="two")
    poll_until(lambda: two.partitions == before, "it has its partitions back", one, two)
    assert one.rebalances == rebalances
    one.close()
    two.close()


def test_a_second_member_under_the_same_instance_id_fences_the_first(broker: EmbeddedBroker) -> None:
    topic = make_topic(broker, "fenced")
    first = Reader(broker, "fenced", topic, group_instance_id="one")
    poll_until(lambda: len(first.partitions) == 4, "the first reads", first)
    second = Reader(broker, "fenced", topic, group_instance_id="one")
    poll_until(lambda: len(second.partitions) == 4, "the second reads", second)
    poll_until(lambda: KafkaError._FATAL in first.errors, "the first is fenced", first, second)
    assert len(second.partitions) == 4
    second.close()
    first.close()


@pytest.mark.parametrize("instances", [("one", "two"), (None, None)])
def test_members_go_on_after_the_broker_was_killed_as_if_nothing_had_been(
    own_broker: EmbeddedBroker, instances: tuple[str | None, str | None]
) -> None:
    topic = make_topic(own_broker, "killed")
    settings = [{} if instance is None else {"group_instance_id": instance} for instance in instances]
    one = Reader(own_broker, "killed", topic, **settings[0])
    two = Reader(own_broker, "killed", topic, **settings[1])
    poll_until(lambda: len(one.partitions) == len(two.partitions) == 2, "they share", one, two)
    rebalances = (one.rebalances, two.rebalances)
    produce(own_broker, topic, "a", "b", "c", "d")
    poll_until(lambda: len(one.values + two.values) == 4, "they read", one, two)
    for reader in (one, two):
        reader.consumer.commit(asynchronous=False)
    own_broker.kill()
    own_broker.start()
    produce(own_broker, topic, "e", "f", "g", "h")
    poll_until(lambda: len(one.values + two.values) == 8, "they go on", one, two)
    for reader in (one, two):
        reader.consumer.commit(asynchronous=False)  # the same member and generation still commit
    assert (one.rebalances, two.rebalances) == rebalances
    admin = admin_of(own_broker)
    description = admin.describe_consumer_groups(["killed"])["killed"].result(timeout=TIMEOUT_S)
    assert description.state is ConsumerGroupState.STABLE
    one.close()
    two.close()


def test_committed_offsets_survive_a_kill(own_broker: EmbeddedBroker) -> None:
    topic = make_topic(own_broker, "offsets")
    consumer = Consumer({"bootstrap.servers": own_broker.bootstrap, "group.id": "offsets", "log_level": 0})
    consumer.commit(offsets=[TopicPartition(topic, 1, 17, metadata="why")], asynchronous=False)
    own_broker.kill()
    own_broker.start()
    (kept,) = consumer.committed([TopicPartition(topic, 1)], TIMEOUT_S)
    assert (kept.offset, kept.metadata) == (17, "why")
    consumer.close()


def test_groups_are_listed_described_and_deleted(broker: EmbeddedBroker) -> None:
    topic = make_topic(broker, "admin")
    reader = Reader(broker, "admin", topic, group_instance_id="one")
    poll_until(lambda: len(reader.partitions) == 4, "it reads", reader)
    admin = admin_of(broker)
    listed = {g.group_id: g.state for g in admin.list_consumer_groups().result(timeout=TIMEOUT_S).valid or []}
    assert listed["admin"] is ConsumerGroupState.STABLE
    description = admin.describe_consumer_groups(["admin"])["admin"].result(timeout=TIMEOUT_S)
    (member,) = description.members
    assert (description.partition_assignor, member.group_instance_id) == ("range", "one")
    assert len(member.assignment.topic_partitions) == 4
    with pytest.raises(KafkaException) as refused:
        admin.delete_consumer_groups(["admin"])["admin"].result(timeout=TIMEOUT_S)
    assert refused.value.args[0].code() == KafkaError.NON_EMPTY_GROUP
    reader.close()
