"""Plain librdkafka clients for the contract suites, quiet on stderr, with every wait bounded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final

from confluent_kafka import Consumer, IsolationLevel, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec
from tests.support.brokers import Cluster

WAIT_S: Final = 60.0
"""How long a test waits for what must happen. Far more than it takes, so that a slow machine fails nothing."""

_COORDINATOR_IS_LOADING: Final = {"NOT_COORDINATOR", "COORDINATOR_LOAD_IN_PROGRESS", "COORDINATOR_NOT_AVAILABLE"}
_NO_LEADER_YET: Final = {
    "UNKNOWN_TOPIC_OR_PART",
    "NOT_LEADER_FOR_PARTITION",
    "LEADER_NOT_AVAILABLE",
    "OFFSET_NOT_AVAILABLE",
    "UNKNOWN_LEADER_EPOCH",
}

_NO_CONFIG: Final[Mapping[str, str]] = MappingProxyType({})

Config = str | int | float | bool


def settings(bootstrap: str, **config: Config) -> dict[str, Any]:
    """librdkafka settings; ``group_id`` stands for ``group.id``."""
    base: dict[str, Any] = {"bootstrap.servers": bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 500}
    return base | {name.replace("_", "."): value for name, value in config.items()}


def admin(bootstrap: str) -> AdminClient:
    return AdminClient(settings(bootstrap))


def make_topic(bootstrap: str, name: str, *, partitions: int = 1, config: Mapping[str, str] = _NO_CONFIG) -> str:
    """Create a topic, and wait until the broker tells of it and leads every partition.

    Apache Kafka tells of a topic first, and takes up one partition after the other then.
    """
    client = admin(bootstrap)
    for created in client.create_topics([NewTopic(name, partitions, 1, config=dict(config))]).values():
        created.result(WAIT_S)
    eventually(lambda: len(client.list_topics(name, timeout=WAIT_S).topics[name].partitions) == partitions)
    for partition in range(partitions):
        _offset(client, TopicPartition(name, partition), OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED)
    return name


def producer(bootstrap: str, **config: Config) -> Producer:
    """An idempotent producer."""
    defaults: dict[str, Config] = {"enable_idempotence": True, "linger_ms": 2}
    return Producer(settings(bootstrap, **(defaults | config)))


def transactional(bootstrap: str, transactional_id: str, **config: Config) -> Producer:
    """A transactional producer after ``init_transactions``."""
    made = producer(bootstrap, transactional_id=transactional_id, **config)
    made.init_transactions(WAIT_S)
    return made


@contextmanager
def consumer(bootstrap: str, group: str, **config: Config) -> Iterator[Consumer]:
    """A consumer without auto-commit that starts at the beginning and is closed at the end."""
    defaults: dict[str, Config] = {
        "group_id": group,
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "session_timeout_ms": 6000,
        "heartbeat_interval_ms": 500,
        "topic_metadata_refresh_interval_ms": 1000,
    }
    made = Consumer(settings(bootstrap, **(defaults | config)))
    try:
        yield made
    finally:
        made.close()


@contextmanager
def member(bootstrap: str, group: str, **config: Config) -> Iterator[Consumer]:
    """The same in the consumer group protocol (KIP-848); the broker decides its session and heartbeats."""
    defaults: dict[str, Config] = {
        "group_id": group,
        "group_protocol": "consumer",
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "topic_metadata_refresh_interval_ms": 1000,
    }
    made = Consumer(settings(bootstrap, **(defaults | config)))
    try:
        yield made
    finally:
        made.close()


def send(client: Producer, topic: str, values: Iterable[bytes], *, partition: int = 0) -> list[Message]:
    """Produce, and return the acknowledged messages in the order of the acknowledgements; fail if one fails."""
    acknowledged: list[Message] = []

    def delivered(error: object, message: Message) -> None:
        assert error is None, error
        acknowledged.append(message)

    for value in values:
        client.produce(topic, value, partition=partition, on_delivery=delivered)
    assert client.flush(WAIT_S) == 0, "not everything was acknowledged in time"
    return acknowledged


def take(source: Consumer, count: int, *, timeout_s: float = WAIT_S) -> list[Message]:
    """Exactly ``count`` messages, or a failure that says how many came."""
    taken: list[Message] = []
    deadline = time.monotonic() + timeout_s
    while len(taken) < count:
        assert time.monotonic() < deadline, f"{len(taken)} of {count} messages came in {timeout_s} s"
        message = source.poll(0.2)
        if message is not None:
            assert message.error() is None, message.error()
            taken.append(message)
    return taken


def read_all(bootstrap: str, topic: str, *, partition: int = 0, isolation: str = "read_committed") -> list[bytes]:
    """Every value that a reader of that isolation level can see now, in the partition's order."""
    with consumer(bootstrap, "reader-without-commits", isolation_level=isolation, enable_partition_eof=True) as reader:
        reader.assign([TopicPartition(topic, partition, 0)])
        seen: list[bytes] = []
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            message = reader.poll(0.2)
            if message is None:
                continue
            error = message.error()
            if error is None:
                seen.append(message.value() or b"")
            elif error.name() == "_PARTITION_EOF":
                return seen
            else:
                assert error.retriable(), error
        raise AssertionError(f"no end of {topic}-{partition} in {WAIT_S} s, after {len(seen)} records")


def await_markers(cluster: Cluster, topic: str, *, partition: int = 0) -> None:
    """Wait until the transactions that were ended have their markers in the partition; none may be open there.

    Our broker has written them when it answers EndTxn, so that nothing is waited for there. Apache Kafka answers when
    the decision is in its own log and writes the markers afterwards (rule 20): until then its last stable offset is
    behind.
    """
    if cluster.name == "apache":

        def latest(*, stable: bool) -> int:
            return end_offset(cluster.bootstrap, topic, OffsetSpec.latest(), partition=partition, stable=stable)

        eventually(lambda: latest(stable=True) == latest(stable=False))


def read_ended(cluster: Cluster, topic: str, *, partition: int = 0) -> list[bytes]:
    """Every value that ``read_committed`` sees once the transactions that were ended have their markers."""
    await_markers(cluster, topic, partition=partition)
    return read_all(cluster.bootstrap, topic, partition=partition)


def end_offset(bootstrap: str, topic: str, spec: OffsetSpec, *, partition: int = 0, stable: bool = False) -> int:
    """What ListOffsets answers for one partition; ``stable`` asks as a read_committed reader does."""
    isolation = IsolationLevel.READ_COMMITTED if stable else IsolationLevel.READ_UNCOMMITTED
    return _offset(admin(bootstrap), TopicPartition(topic, partition), spec, isolation)


def _offset(client: AdminClient, place: TopicPartition, spec: OffsetSpec, isolation: IsolationLevel) -> int:
    """A broker that does not lead the partition yet, after its start or the topic's, is asked again."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            answer = client.list_offsets({place: spec}, isolation_level=isolation)[place].result(WAIT_S)
        except KafkaException as refused:
            if refused.args[0].name() not in _NO_LEADER_YET or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return int(answer.offset)


def eventually(condition: Callable[[], bool], *, timeout_s: float = WAIT_S) -> None:
    """Wait until the condition holds; fail if it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"it did not come true in {timeout_s} s"
        time.sleep(0.05)


def poll_until(sources: Sequence[Consumer], condition: Callable[[], bool], *, timeout_s: float = WAIT_S) -> None:
    """Keep the consumers polling, so that they take part in rebalances, until the condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"it did not come true in {timeout_s} s"
        for source in sources:
            source.poll(0.05)


def assigned(source: Consumer) -> list[int]:
    """Which partitions a consumer of one topic has."""
    return sorted(part.partition for part in source.assignment())


def committed_place(source: Consumer, topic: str, *, partition: int = 0) -> TopicPartition:
    """The group's committed offset with its metadata, as OffsetFetch answers it.

    A coordinator that loads its offsets after a restart says so; librdkafka passes that on without calling it
    retriable, and asking again is the caller's part.
    """
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            (answer,) = source.committed([TopicPartition(topic, partition)], timeout=WAIT_S)
        except KafkaException as refused:
            if refused.args[0].name() not in _COORDINATOR_IS_LOADING or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return answer


def committed(source: Consumer, topic: str, *, partition: int = 0) -> int:
    """The group's committed offset; negative if there is none."""
    return int(committed_place(source, topic, partition=partition).offset)
