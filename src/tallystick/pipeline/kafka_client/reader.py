"""A pass over whole topics, outside any group: for looking at what is there, never for processing.

Owns: ``read_to_end``, ``read_range``, ``record_of``. Must not know: what the records say. Steps never use this: they
have transactions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException

from tallystick.errors import FatalError, RetriableError
from tallystick.ids import EVENT_ID_HEADER, EventId, parse_event_id, position_id
from tallystick.pipeline.kafka_client.assigned import assigned_consumer
from tallystick.pipeline.kafka_client.partitions import Partition
from tallystick.pipeline.kafka_client.ranges import RecordsDeleted, read_assigned
from tallystick.pipeline.records import Headers, Record


def read_to_end(settings: Mapping[str, Any], topics: Sequence[str], *, timeout_s: float = 120.0) -> Iterator[Record]:
    """Every committed record of the topics, up to the last stable offsets of now; in order within a partition.

    ``settings`` are librdkafka's: ``bootstrap.servers`` and what security needs. Raises ``RetriableError`` if the
    ends are not reached within ``timeout_s``, ``FatalError`` for a topic that does not exist.
    """
    consumer = assigned_consumer(settings, "reader")
    try:
        ranges = dict.fromkeys(_partitions(consumer, topics), (OFFSET_BEGINNING, None))
        for messages in read_assigned(consumer, ranges, standstill_s=timeout_s, timeout_s=timeout_s):
            yield from map(record_of, messages)
    finally:
        consumer.close()


def read_range(settings: Mapping[str, Any], partition: Partition, first: int, end: int) -> list[Record]:
    """The committed records of one partition from offset ``first`` up to, and not including, ``end``.

    Those that are there: none if they were deleted, and none that an open transaction holds back.
    """
    found: list[Record] = []
    consumer = assigned_consumer(settings, "reader")
    try:
        for messages in read_assigned(consumer, {partition: (first, None)}):
            found += (record_of(message) for message in messages if message.offset() < end)
            if messages[-1].offset() + 1 >= end:
                break
    except RecordsDeleted:
        pass
    finally:
        consumer.close()
    return found


def _partitions(consumer: Consumer, topics: Sequence[str]) -> list[Partition]:
    partitions: list[Partition] = []
    for topic in topics:
        try:
            metadata: Any = consumer.list_topics(topic, timeout=30.0).topics[topic]
        except KafkaException as error:
            raise RetriableError(f"metadata of {topic}: {error}") from error
        if metadata.error is not None or not metadata.partitions:
            raise FatalError(f"topic {topic} does not exist or has no partitions: {metadata.error}")
        partitions += [(topic, partition) for partition in metadata.partitions]
    return partitions


def record_of(message: Any) -> Record:
    """A client's message as a record; an id of its position if it bears none that can be read."""
    headers = tuple((name, value or b"") for name, value in message.headers() or ())
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    event_id = _event_id(headers, topic, partition, offset)
    return Record(topic, partition, offset, message.key(), message.value(), headers, message.timestamp()[1], event_id)


def _event_id(headers: Headers, topic: str, partition: int, offset: int) -> EventId:
    """Without a stamp, or with a broken one: an id to tell records apart here. The pipeline derives its own."""
    try:
        return parse_event_id(dict(headers)[EVENT_ID_HEADER])
    except (KeyError, ValueError):
        return position_id(cluster_id="", topic_id=topic, partition=partition, offset=offset)
