"""Partitions read by offset, each up to an end: what is there to be looked at again.

Owns: ``read_ranges``, and the one loop behind it and ``reader``. Must not know: what the records say. It belongs to no
group and commits nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Mapping
from typing import Any, Final

from confluent_kafka import Consumer, TopicPartition

from tallystick.errors import ConfigurationError, RetriableError
from tallystick.pipeline.error_classes import AUTO_OFFSET_RESET, PARTITION_EOF, Operation, classify
from tallystick.pipeline.kafka_client.assigned import assigned_consumer
from tallystick.pipeline.kafka_client.failures import failure_of
from tallystick.pipeline.kafka_client.partitions import Partition
from tallystick.pipeline.polled import Message

_BATCH: Final = 10_000
_LOOK_S: Final = 0.1
STANDSTILL_S: Final = 60.0
"""How long nothing may come while an end is not reached: a transaction may be open there."""


class RecordsDeleted(ConfigurationError):
    """Records that were to be read are no longer there."""


def read_ranges(
    settings: Mapping[str, Any],
    ranges: Mapping[Partition, tuple[int, int]],
    *,
    standstill_s: float = STANDSTILL_S,
) -> Generator[list[Message], None, None]:
    """The committed messages of each partition from its first offset up to, and not including, its end.

    In order within a partition. An end that was a high watermark is reached when the transactions below it have ended;
    ``RetriableError`` if that, or anything else, does not come for ``standstill_s``. ``RecordsDeleted`` if records
    were deleted meanwhile. ``settings``: ``bootstrap.servers`` and what security needs.
    """
    wanted = {place: (first, end) for place, (first, end) in ranges.items() if first < end}
    if not wanted:
        return
    consumer = assigned_consumer(settings, "ranges")
    try:
        yield from read_assigned(consumer, wanted, standstill_s=standstill_s)
    finally:
        consumer.close()


def read_assigned(
    consumer: Consumer,
    ranges: Mapping[Partition, tuple[int, int | None]],
    *,
    standstill_s: float = STANDSTILL_S,
    timeout_s: float = math.inf,
) -> Generator[list[Message], None, None]:
    """The same with an ``assigned_consumer``; the end None is where the reader first finds no more committed records.

    ``RetriableError`` also if it is not done after ``timeout_s``.
    """
    began_s = moved_s = time.monotonic()
    open_ends = {place: end for place, (_, end) in ranges.items()}
    consumer.assign([TopicPartition(*place, ranges[place][0]) for place in sorted(ranges)])
    while open_ends:
        if time.monotonic() - began_s > timeout_s:
            raise RetriableError(f"the ends of {sorted(open_ends)} were not reached in {timeout_s:.0f} s")
        messages: list[Any] = consumer.consume(1, _LOOK_S)  # a fuller list would be waited for
        if messages:
            messages += consumer.consume(_BATCH - 1, 0)
        kept = _taken(consumer, messages, open_ends)
        if kept:
            moved_s = time.monotonic()
            yield kept
        elif time.monotonic() - moved_s > standstill_s:
            raise RetriableError(
                f"nothing more comes of {sorted(open_ends)} before their ends {list(open_ends.values())}: a "
                "transaction may be open there ('tallystick txn open' shows it)"
            )


def _taken(consumer: Consumer, messages: list[Any], open_ends: dict[Partition, int | None]) -> list[Message]:
    """The records before their ends; partitions that have reached theirs are left, and taken out of ``open_ends``."""
    kept: list[Message] = []
    for message in messages:
        place = (str(message.topic()), int(message.partition() or 0))
        if place not in open_ends:
            continue
        end = open_ends[place]
        if message.error() is None:
            if end is None or message.offset() < end:
                kept.append(message)
            has_ended = end is not None and message.offset() + 1 >= end
        else:
            has_ended = _is_end(message, place) and (end is None or message.offset() >= end)
        if has_ended:
            del open_ends[place]
            consumer.incremental_unassign([TopicPartition(*place)])
    return kept


def _is_end(message: Any, place: Partition) -> bool:
    """Whether what is no record says that no committed record is left from its offset on. Raises what does not pass."""
    failure = failure_of(message.error())
    if failure.code == PARTITION_EOF:
        return True
    if failure.code == AUTO_OFFSET_RESET:
        raise RecordsDeleted(f"{place[0]}-{place[1]}: records were deleted while they were read: {failure.text}")
    kind = classify(failure, Operation.CONSUME)
    if failure.fatal or not issubclass(kind, RetriableError):
        raise kind(f"reading {place[0]}-{place[1]}: {failure.name}: {failure.text}")
    return False
