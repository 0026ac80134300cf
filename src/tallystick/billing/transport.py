"""Sending to and reading whole topics, for what is no pipeline step: ingest, commands, reconciliation.

Owns: an idempotent producer run and a read-committed pass over topics from first to last record. Must not know: what
the records say. Steps never use this: they have transactions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from tallystick.errors import FatalError, RetriableError
from tallystick.ids import EVENT_ID_HEADER, parse_event_id, position_id
from tallystick.pipeline.kafka_client import Producer
from tallystick.pipeline.records import Output, Record

Setting = str | int | float | bool

_SEND_BATCH: Final = 500
_FLUSH_TRIES: Final = 30
_READ_BATCH: Final = 1_000


def send(
    bootstrap: str,
    outputs: Iterable[Output],
    *,
    producer_config: Mapping[str, Setting] | None = None,
    on_sent: Callable[[int], None] | None = None,
) -> int:
    """Send records with an idempotent producer and wait until all are acknowledged; returns how many.

    A run that dies and is run again sends records again: their ids say that they are the same. ``on_sent`` is called
    with the number of acknowledged records after each batch. Raises one of the four error classes.
    """
    producer = Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 5, **(producer_config or {}), "enable.idempotence": True}
    )
    count = 0
    source = iter(outputs)
    try:
        while batch := list(islice(source, _SEND_BATCH)):
            count += producer.produce(batch)
            _flush(producer)
            if on_sent is not None:
                on_sent(count)
    finally:
        producer.discard()
    return count


def _flush(producer: Producer) -> None:
    """Wait for acknowledgements for up to five minutes: a broker may be killed and restarted meanwhile."""
    for remaining in reversed(range(_FLUSH_TRIES)):
        try:
            producer.flush()
        except RetriableError:
            if remaining == 0:
                raise
        else:
            return


def read_topics(
    bootstrap: str,
    topics: Sequence[str],
    *,
    consumer_config: Mapping[str, Setting] | None = None,
    timeout_s: float = 120.0,
) -> dict[str, list[Record]]:
    """All committed records of each topic, ordered by partition and offset, as of now.

    Reads ``read_committed``, from the beginning to the last stable offset, outside any group. Raises
    ``RetriableError`` if that takes longer than ``timeout_s``, ``FatalError`` for a topic that does not exist.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            **(consumer_config or {}),
            "group.id": "tallystick.reader",  # never joined: partitions are assigned by hand, nothing is committed
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    deadline = time.monotonic() + timeout_s
    try:
        return _read(consumer, topics, deadline)
    finally:
        consumer.close()


def _read(consumer: Consumer, topics: Sequence[str], deadline: float) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {topic: [] for topic in topics}
    open_partitions = set(_partitions(consumer, topics))
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for topic, partition in open_partitions])
    while open_partitions:
        if time.monotonic() > deadline:
            raise RetriableError(f"the ends of {sorted(open_partitions)} were not reached in time")
        for message in consumer.consume(_READ_BATCH, 0.5):
            error = message.error()
            if error is None:
                record = _record(message)
                found[record.topic].append(record)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  librdkafka's name of a public code
                open_partitions.discard((str(message.topic()), message.partition() or 0))
            elif not error.retriable() and error.fatal():
                raise FatalError(f"reading {message.topic()}: {error.str()}")
    for records in found.values():
        records.sort(key=lambda record: (record.partition, record.offset))
    return found


def _partitions(consumer: Consumer, topics: Sequence[str]) -> list[tuple[str, int]]:
    partitions = []
    for topic in topics:
        try:
            metadata: Any = consumer.list_topics(topic, timeout=30.0).topics[topic]
        except KafkaException as error:
            raise RetriableError(f"metadata of {topic}: {error}") from error
        if metadata.error is not None or not metadata.partitions:
            raise FatalError(f"topic {topic} does not exist or has no partitions: {metadata.error}")
        partitions += [(topic, partition) for partition in metadata.partitions]
    return partitions


def _record(message: Any) -> Record:
    headers = tuple((name, value or b"") for name, value in message.headers() or ())
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    stamped = dict(headers).get(EVENT_ID_HEADER)
    if stamped is None:  # never stamped: an id for counting, which the pipeline derives from ids not known here
        event_id = position_id(cluster_id="", topic_id=topic, partition=partition, offset=offset)
    else:
        event_id = parse_event_id(stamped)
    return Record(topic, partition, offset, message.key(), message.value(), headers, message.timestamp()[1], event_id)
