"""Partitions read by offset: what is there is read, and what is not there is neither waited for nor made up."""

from __future__ import annotations

import pytest
from confluent_kafka import TopicPartition
from tests.support.brokers import Cluster, Names
from tests.support.clients import WAIT_S, admin, make_topic, producer, send, transactional

from tallystick.pipeline.kafka_client import read_range, read_ranges, read_to_end
from tallystick.pipeline.kafka_client.ranges import RecordsDeleted
from tallystick.pipeline.records import Record

VALUES = [b"%d" % number for number in range(10)]


@pytest.fixture
def topic(kafka: Cluster, names: Names) -> str:
    made = make_topic(kafka.bootstrap, names("topic"))
    send(producer(kafka.bootstrap), made, VALUES)
    return made


def settings(kafka: Cluster) -> dict[str, str]:
    return {"bootstrap.servers": kafka.bootstrap}


def values(records: list[Record]) -> list[bytes | None]:
    return [record.value for record in records]


def delete_before(kafka: Cluster, topic: str, offset: int) -> None:
    client = admin(kafka.bootstrap)
    (answer,) = client.delete_records([TopicPartition(topic, 0, offset)]).values()
    assert answer.result(WAIT_S).low_watermark == offset


def test_a_range_has_the_records_between_its_offsets(kafka: Cluster, topic: str) -> None:
    assert values(read_range(settings(kafka), (topic, 0), 3, 6)) == VALUES[3:6]
    assert values(read_range(settings(kafka), (topic, 0), 8, 20)) == VALUES[8:]


def test_reading_ends_before_an_open_transaction_and_goes_past_one_that_ended(kafka: Cluster, topic: str) -> None:
    client = transactional(kafka.bootstrap, f"{topic}-id")
    client.begin_transaction()
    send(client, topic, [b"open"])
    assert values(read_range(settings(kafka), (topic, 0), 8, 11)) == VALUES[8:]
    assert values(list(read_to_end(settings(kafka), [topic]))) == VALUES
    client.abort_transaction(WAIT_S)
    ended = [message for read in read_ranges(settings(kafka), {(topic, 0): (8, 11)}) for message in read]
    assert [message.value() for message in ended] == VALUES[8:]


def test_records_that_were_deleted_are_missing_from_a_look_and_refused_where_all_are_needed(
    kafka: Cluster, topic: str
) -> None:
    delete_before(kafka, topic, 5)
    assert read_range(settings(kafka), (topic, 0), 0, 3) == []
    assert values(list(read_to_end(settings(kafka), [topic]))) == VALUES[5:]
    with pytest.raises(RecordsDeleted, match="records were deleted"):
        list(read_ranges(settings(kafka), {(topic, 0): (0, 10)}))
