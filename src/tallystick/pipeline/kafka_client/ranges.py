"""Partitions read by offset, each up to an end that is known: what is there to be looked at again.

Owns: ``read_ranges``. Must not know: what the records say. It belongs to no group and commits nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from confluent_kafka import Consumer, TopicPartition

from tallystick.errors import ConfigurationError, RetriableError
from tallystick.pipeline.error_classes import AUTO_OFFSET_RESET, PARTITION_EOF, Operation, classify
from tallystick.pipeline.kafka_client.failures import failure_of
from tallystick.pipeline.kafka_client.logs import client_logger
from tallystick.pipeline.kafka_client.partitions import Partition
from tallystick.pipeline.polled import Message

_BATCH: Final = 10_000
_LOOK_S: Final = 0.1
STANDSTILL_S: Final = 60.0
"""How long nothing may come while an end is not reached: a transaction may be open there."""


def read_ranges(
    settings: Mapping[str, Any],
    ranges: Mapping[Partition, tuple[int, int]],
    *,
    standstill_s: float = STANDSTILL_S,
) -> Iterator[list[Message]]:
    """The committed messages of each partition from its first offset up to, and not including, its end.

    In order within a partition. An end that was a high watermark is reached when the transactions below it have ended;
    ``RetriableError`` if that, or anything else, does not come for ``standstill_s``. ``ConfigurationError`` if records
    were deleted meanwhile. ``settings``: ``bootstrap.servers`` and what security needs.
    """
    open_ends = {place: end for place, (first, end) in ranges.items() if first < end}
    if not open_ends:
        return
    consumer = Consumer(
        {
            **settings,
            "group.id": "tallystick.ranges",  # never joined
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 50,
            "error_cb": lambda _error: None,
        },
        logger=client_logger("ranges", lambda _facility, _text: None),
    )
    try:
        consumer.assign([TopicPartition(*place, ranges[place][0]) for place in sorted(open_ends)])
        yield from _read(consumer, open_ends, standstill_s)
    finally:
        consumer.close()


def _read(consumer: Consumer, open_ends: dict[Partition, int], standstill_s: float) -> Iterator[list[Message]]:
    moved_s = time.monotonic()
    while open_ends:
        messages: list[Any] = consumer.consume(1, _LOOK_S)  # a fuller list would be waited for
        if messages:
            messages += consumer.consume(_BATCH - 1, 0)
        kept: list[Message] = []
        for message in messages:
            place = (str(message.topic()), int(message.partition() or 0))
            end = open_ends.get(place)
            if end is None:
                continue
            reached = _reached(message, place)
            if reached is None:
                if message.offset() < end:
                    kept.append(message)
                reached = message.offset() + 1
            if reached >= end:
                del open_ends[place]
                consumer.incremental_unassign([TopicPartition(*place)])
        if kept:
            moved_s = time.monotonic()
            yield kept
        elif time.monotonic() - moved_s > standstill_s:
            raise RetriableError(
                f"nothing more comes of {sorted(open_ends)} before their ends {sorted(open_ends.values())}: a "
                "transaction may be open there ('tallystick txn open' shows it)"
            )


def _reached(message: Any, place: Partition) -> int | None:
    """For what is no record: the offset up to which there is nothing more; None for a record."""
    error = message.error()
    if error is None:
        return None
    failure = failure_of(error)
    if failure.code == PARTITION_EOF:
        return int(message.offset() or 0)
    if failure.code == AUTO_OFFSET_RESET:
        raise ConfigurationError(f"{place[0]}-{place[1]}: records were deleted while they were read: {failure.text}")
    kind = classify(failure, Operation.CONSUME)
    if failure.fatal or not issubclass(kind, RetriableError):
        raise kind(f"reading {place[0]}-{place[1]}: {failure.name}: {failure.text}")
    return -1
