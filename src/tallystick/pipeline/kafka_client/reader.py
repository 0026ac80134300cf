"""A pass over whole topics, outside any group: for looking at what is there, never for processing.

Owns: ``read_to_end``, ``read_range``, ``record_of``. Must not know: what the records say. Steps never use this: they
have transactions.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from tallystick.errors import FatalError, RetriableError
from tallystick.ids import EVENT_ID_HEADER, EventId, parse_event_id, position_id
from tallystick.pipeline.kafka_client.partitions import Partition
from tallystick.pipeline.records import Headers, Record

_READ_BATCH: Final = 1_000


def read_to_end(settings: Mapping[str, Any], topics: Sequence[str], *, timeout_s: float = 120.0) -> Iterator[Record]:
    """Every committed record of the topics, up to the last stable offsets of now; in order within a partition.

    ``settings`` are librdkafka's: ``bootstrap.servers`` and what security needs. Raises ``RetriableError`` if the
    ends are not reached within ``timeout_s``, ``FatalError`` for a topic that does not exist.
    """
    consumer = Consumer(
        {
            **settings,
            "group.id": "tallystick.reader",  # never joined: partitions are assigned by hand, nothing is committed
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    deadline = time.monotonic() + timeout_s
    try:
        open_partitions = set(_partitions(consumer, topics))
        consumer.assign([TopicPartition(topic, index, OFFSET_BEGINNING) for topic, index in open_partitions])
        while open_partitions:
            if time.monotonic() > deadline:
                raise RetriableError(f"the ends of {sorted(open_partitions)} were not reached in time")
            for message in consumer.consume(_READ_BATCH, 0.5):
                error = message.error()
                if error is None:
                    yield record_of(message)
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  librdkafka's name of a public code
                    open_partitions.discard((str(message.topic()), message.partition() or 0))
                elif error.fatal() or not error.retriable():
                    raise FatalError(f"reading {message.topic()}: {error.str()}")
    finally:
        consumer.close()


def read_range(
    settings: Mapping[str, Any], partition: Partition, first: int, end: int, *, timeout_s: float = 60.0
) -> list[Record]:
    """The committed records of one partition from offset ``first`` up to, and not including, ``end``."""
    consumer = Consumer(
        {
            **settings,
            "group.id": "tallystick.reader",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    deadline = time.monotonic() + timeout_s
    found: list[Record] = []
    try:
        consumer.assign([TopicPartition(*partition, first)])
        while time.monotonic() < deadline:
            for message in consumer.consume(_READ_BATCH, 0.5):
                error = message.error()
                if error is None:
                    if (message.offset() or 0) >= end:
                        return found
                    found.append(record_of(message))
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  librdkafka's name of a public code
                    return found
                elif error.fatal() or not error.retriable():
                    raise FatalError(f"reading {partition[0]}-{partition[1]}: {error.str()}")
            (position,) = consumer.position([TopicPartition(*partition)])
            if position.offset >= end:
                return found
    finally:
        consumer.close()
    raise RetriableError(f"{partition[0]}-{partition[1]} was not read up to {end} in time")


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
