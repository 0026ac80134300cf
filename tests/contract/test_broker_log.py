"""Producing and reading: the same on our broker and on Apache Kafka."""

from __future__ import annotations

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec
from tests.support.brokers import Cluster, Names
from tests.support.clients import WAIT_S, admin, consumer, end_offset, make_topic, producer, read_all, send, take

KEPT = {"retention.ms": "-1"}
"""For topics with records of a time long ago: both brokers look for what is too old every few minutes."""


def numbered(count: int, *, start: int = 0) -> list[bytes]:
    return [f"{number:06}".encode() for number in range(start, start + count)]


def test_an_idempotent_producer_writes_each_record_once_and_in_order(kafka: Cluster, names: Names) -> None:
    topic = make_topic(kafka.bootstrap, names("log"), partitions=2)
    client = producer(kafka.bootstrap)
    for partition in (0, 1):
        acknowledged = send(client, topic, numbered(2000), partition=partition)
        assert [message.offset() for message in acknowledged] == list(range(2000))
    for partition in (0, 1):
        assert read_all(kafka.bootstrap, topic, partition=partition) == numbered(2000)


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_compressed_batches_come_back_as_they_were(kafka: Cluster, names: Names, codec: str) -> None:
    topic = make_topic(kafka.bootstrap, names("codec"))
    send(producer(kafka.bootstrap, compression_type=codec), topic, numbered(500))
    assert read_all(kafka.bootstrap, topic) == numbered(500)


def test_key_headers_timestamp_and_a_null_value_are_kept(kafka: Cluster, names: Names) -> None:
    topic = make_topic(kafka.bootstrap, names("parts"), config=KEPT)
    client = producer(kafka.bootstrap)
    client.produce(topic, None, key=b"k", headers=[("h", b"1"), ("h", b"2"), ("n", None)], timestamp=1_700_000_000_123)
    assert client.flush(WAIT_S) == 0
    with consumer(kafka.bootstrap, names("g")) as reader:
        reader.subscribe([topic])
        (message,) = take(reader, 1)
    assert (message.key(), message.value()) == (b"k", None)
    assert message.headers() == [("h", b"1"), ("h", b"2"), ("n", None)]
    assert message.timestamp() == (TIMESTAMP_CREATE_TIME, 1_700_000_000_123)


def test_a_topic_is_made_by_the_first_record(kafka: Cluster, names: Names) -> None:
    topic = names("auto")
    send(producer(kafka.bootstrap), topic, [b"first"])
    assert read_all(kafka.bootstrap, topic) == [b"first"]
    metadata = admin(kafka.bootstrap).list_topics(topic, timeout=WAIT_S)
    assert len(metadata.topics[topic].partitions) == 4


def test_a_topic_is_not_made_twice(kafka: Cluster, names: Names) -> None:
    topic = make_topic(kafka.bootstrap, names("twice"))
    with pytest.raises(KafkaException) as refused:
        make_topic(kafka.bootstrap, topic)
    assert refused.value.args[0].name() == "TOPIC_ALREADY_EXISTS"


def test_offsets_are_found_by_earliest_latest_and_timestamp(kafka: Cluster, names: Names) -> None:
    topic = make_topic(kafka.bootstrap, names("offsets"), config=KEPT)
    client = producer(kafka.bootstrap)
    for number in range(10):  # one batch each, so that the answer is more than a batch's first offset
        client.produce(topic, b"x", partition=0, timestamp=1_000_000 + number * 1_000)
        assert client.flush(WAIT_S) == 0

    def offset(spec: OffsetSpec) -> int:
        return end_offset(kafka.bootstrap, topic, spec)

    assert offset(OffsetSpec.earliest()) == 0
    assert offset(OffsetSpec.latest()) == 10
    assert offset(OffsetSpec.for_timestamp(1_003_000)) == 3
    assert offset(OffsetSpec.for_timestamp(1_003_001)) == 4
    assert offset(OffsetSpec.for_timestamp(2_000_000)) == -1
    assert offset(OffsetSpec.max_timestamp()) == 9


def test_a_record_inside_a_batch_is_found_by_its_timestamp(kafka: Cluster, names: Names) -> None:
    topic = make_topic(kafka.bootstrap, names("inside"), config=KEPT)
    client = producer(kafka.bootstrap, linger_ms=500)
    for number in range(10):
        client.produce(topic, b"x", partition=0, timestamp=1_000_000 + number * 1_000)
    assert client.flush(WAIT_S) == 0
    with consumer(kafka.bootstrap, names("g")) as reader:
        (found,) = reader.offsets_for_times([TopicPartition(topic, 0, 1_004_500)], timeout=WAIT_S)
    assert found.offset == 5


def test_a_reader_waits_for_a_record_that_comes_later(kafka: Cluster, names: Names) -> None:
    topic = make_topic(kafka.bootstrap, names("later"))
    with consumer(kafka.bootstrap, names("g")) as reader:
        reader.assign([TopicPartition(topic, 0, 0)])
        assert reader.poll(0.5) is None
        send(producer(kafka.bootstrap), topic, [b"late"])
        assert [message.value() for message in take(reader, 1)] == [b"late"]


def test_an_offset_past_the_end_is_out_of_range(kafka: Cluster, names: Names) -> None:
    topic = make_topic(kafka.bootstrap, names("range"))
    send(producer(kafka.bootstrap), topic, [b"only"])
    with consumer(kafka.bootstrap, names("g"), auto_offset_reset="error") as reader:
        reader.assign([TopicPartition(topic, 0, 500)])
        message = None
        while message is None:
            message = reader.poll(WAIT_S)
        error = message.error()
        assert error is not None
        assert error.name() in {"_AUTO_OFFSET_RESET", "OFFSET_OUT_OF_RANGE"}


def test_a_record_above_the_limit_is_refused_and_the_next_one_taken(kafka: Cluster, names: Names) -> None:
    topic = make_topic(kafka.bootstrap, names("large"))
    client = producer(kafka.bootstrap, message_max_bytes=40_000_000)
    failures: list[str] = []
    client.produce(
        topic,
        b"\0" * 20_000_000,
        partition=0,
        on_delivery=lambda error, _: failures.append(error.name() if error else "delivered"),
    )
    client.flush(WAIT_S)
    assert failures == ["MSG_SIZE_TOO_LARGE"]
    send(producer(kafka.bootstrap), topic, [b"small"])
    assert read_all(kafka.bootstrap, topic) == [b"small"]


def test_acknowledged_records_survive_a_killed_broker_once_and_in_order(kafka: Cluster, names: Names) -> None:
    topic = make_topic(kafka.bootstrap, names("killed"))
    client = producer(kafka.bootstrap, batch_num_messages=10)
    send(client, topic, numbered(500))
    for number in range(500, 1000):  # in flight while the broker dies: the client re-sends what was not acknowledged
        client.produce(topic, numbered(1, start=number)[0], partition=0)
        client.poll(0)
    kafka.kill()
    kafka.restart()
    assert client.flush(WAIT_S) == 0
    send(client, topic, numbered(500, start=1000))
    assert read_all(kafka.bootstrap, topic) == numbered(1500)
