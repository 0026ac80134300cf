"""Partitions read by offset up to an end that is known: how a changelog is read back.

Owns: ``Follower``. Must not know: what the records say. It belongs to no group and commits nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import KafkaError, TopicPartition

from tallystick.pipeline.error_classes import Operation, classify
from tallystick.pipeline.kafka_client.assigned import assigned_consumer
from tallystick.pipeline.kafka_client.failures import failure_of
from tallystick.pipeline.kafka_client.partitions import Partition
from tallystick.pipeline.polled import Message

_BATCH: Final = 10_000
_PASSING: Final = frozenset({"_TRANSPORT", "_ALL_BROKERS_DOWN", "_RESOLVE", "_TIMED_OUT", "_AUTO_OFFSET_RESET"})

Headers = Sequence[tuple[str, bytes]] | None


@dataclass(frozen=True, slots=True)
class Followed:
    """Records of one partition, by columns; ``headers`` are asked for by index, because few are looked at."""

    offsets: Sequence[int]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: Callable[[int], Headers]


@dataclass(slots=True)
class Look:
    """What one look brought."""

    records: dict[Partition, Followed] = field(default_factory=dict)
    ends: dict[Partition, int] = field(default_factory=dict)
    """Partitions without a committed record left, at this offset."""
    out_of_range: set[Partition] = field(default_factory=set)


class Follower:
    """Reads committed records only. Used by one thread."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """``settings``: ``bootstrap.servers`` and what security needs."""
        self._consumer = assigned_consumer(settings, "follower")

    def follow(self, starts: Mapping[Partition, int]) -> None:
        """Read these partitions too, from these offsets."""
        self._consumer.incremental_assign([TopicPartition(topic, number, at) for (topic, number), at in starts.items()])

    def leave(self, partitions: Iterable[Partition]) -> None:
        self._consumer.incremental_unassign([TopicPartition(*partition) for partition in partitions])

    def look(self, timeout_s: float) -> Look:
        """What is here; waits for the first of it."""
        messages: list[Any] = self._consumer.consume(1, timeout_s)  # a fuller list would be waited for
        if messages:
            messages += self._consumer.consume(_BATCH, 0)
        found = Look()
        # By identity: confluent-kafka's errors cannot be compared with None.
        if messages and any(error is not None for error in map(type(messages[0]).error, messages)):
            messages = [message for message in messages if not self._is_news(message, found)]
        for place, some in _by_partition(messages).items():
            found.records[place] = _followed(some)
        return found

    def _is_news(self, message: Any, found: Look) -> bool:
        """Whether it is no record, but says something."""
        error = message.error()
        if error is None:
            return False
        place = (str(message.topic()), int(message.partition() or 0))
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  librdkafka's name of a public code
            found.ends[place] = int(message.offset() or 0)
        else:
            self._failed(place, error, found)
        return True

    def close(self) -> None:
        self._consumer.close()

    def _failed(self, place: Partition, error: KafkaError, found: Look) -> None:
        failure = failure_of(error)
        if failure.name == "_AUTO_OFFSET_RESET":
            found.out_of_range.add(place)
        elif failure.name not in _PASSING and not failure.retriable:
            raise classify(failure, Operation.CONSUME)(f"reading {place[0]}-{place[1]}: {failure.name}: {failure.text}")


def _by_partition(messages: Sequence[Message]) -> dict[Partition, list[Message]]:
    if not messages:
        return {}
    kind = type(messages[0])
    places = list(zip(map(kind.topic, messages), map(kind.partition, messages), strict=True))
    if places.count(places[0]) == len(places):
        return {places[0]: list(messages)}
    found: dict[Partition, list[Message]] = {}
    for place, message in zip(places, messages, strict=True):
        found.setdefault(place, []).append(message)
    return found


def _followed(messages: Sequence[Message]) -> Followed:
    kind = type(messages[0])
    offsets, keys, values = (
        list(map(kind.offset, messages)),
        list(map(kind.key, messages)),
        list(map(kind.value, messages)),
    )
    return Followed(offsets, keys, values, lambda index: messages[index].headers())  # type: ignore[arg-type, return-value]
