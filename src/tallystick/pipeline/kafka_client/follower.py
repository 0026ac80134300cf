"""Partitions read by offset up to an end that is known: how a changelog is read back.

Owns: ``Follower``. Must not know: what the records say. It belongs to no group and commits nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, TopicPartition

from tallystick.pipeline.error_classes import Operation, classify
from tallystick.pipeline.kafka_client.failures import failure_of
from tallystick.pipeline.kafka_client.logs import client_logger
from tallystick.pipeline.kafka_client.partitions import Partition

_BATCH: Final = 10_000
_PASSING: Final = frozenset({"_TRANSPORT", "_ALL_BROKERS_DOWN", "_RESOLVE", "_TIMED_OUT", "_AUTO_OFFSET_RESET"})

LogRecord = tuple[int, bytes | None, bytes | None, "list[tuple[str, bytes]] | None"]
"""Offset, key, value, headers."""


@dataclass(slots=True)
class Followed:
    """What one look brought: records by partition, and the offset that each partition is read up to."""

    records: dict[Partition, list[LogRecord]] = field(default_factory=dict)
    ends: dict[Partition, int] = field(default_factory=dict)
    """Partitions without a committed record left, at this offset."""
    out_of_range: set[Partition] = field(default_factory=set)


class Follower:
    """Reads committed records only. Used by one thread."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """``settings``: ``bootstrap.servers`` and what security needs."""
        self._consumer = Consumer(
            {
                **settings,
                "group.id": "tallystick.follower",  # never joined
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 50,
                "error_cb": lambda _error: None,
            },
            logger=client_logger("follower", lambda _facility, _text: None),
        )

    def follow(self, starts: Mapping[Partition, int]) -> None:
        """Read these partitions too, from these offsets."""
        self._consumer.incremental_assign([TopicPartition(topic, number, at) for (topic, number), at in starts.items()])

    def leave(self, partitions: Iterable[Partition]) -> None:
        self._consumer.incremental_unassign([TopicPartition(*partition) for partition in partitions])

    def look(self, timeout_s: float) -> Followed:
        """What is here; waits for the first of it."""
        found = Followed()
        messages = self._consumer.consume(1, timeout_s)  # a fuller list would be waited for
        if messages:
            messages += self._consumer.consume(_BATCH, 0)
        for message in messages:
            place = (str(message.topic()), int(message.partition() or 0))
            error = message.error()
            if error is None:
                record = (int(message.offset() or 0), message.key(), message.value(), message.headers())
                found.records.setdefault(place, []).append(record)  # type: ignore[arg-type]
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  librdkafka's name of a public code
                found.ends[place] = int(message.offset() or 0)
            else:
                self._failed(place, error, found)
        return found

    def close(self) -> None:
        self._consumer.close()

    def _failed(self, place: Partition, error: KafkaError, found: Followed) -> None:
        failure = failure_of(error)
        if failure.name == "_AUTO_OFFSET_RESET":
            found.out_of_range.add(place)
        elif failure.name not in _PASSING and not failure.retriable:
            raise classify(failure, Operation.CONSUME)(f"reading {place[0]}-{place[1]}: {failure.name}: {failure.text}")
