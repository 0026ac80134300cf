"""What a topic's readers under ``read_committed`` have seen, up to now.

Owns: reading on from where the last look ended. Must not know: the application.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from heapq import merge
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, IsolationLevel, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from tallystick.errors import FatalError
from tallystick.pipeline.kafka_client import Cluster, record_of
from tallystick.pipeline.records import Record

Place = tuple[str, int]

_LOOK_UP_S: Final = 10.0
_CATCH_UP_S: Final = 30.0
_READ: Final = 500


class Committed:
    """The committed records of topics, kept in memory in the order of each partition."""

    def __init__(self, bootstrap: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap})
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "tallystick.app-driver",  # never joined: partitions are assigned by hand
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 10,
            }
        )
        self._records: dict[Place, list[Record]] = {}
        self._reached: dict[Place, int] = {}

    def close(self) -> None:
        self._consumer.close()

    def catch_up(self, topics: Iterable[str]) -> None:
        """Read the topics, those that exist, to their last stable offsets as of now."""
        places = self._places(topics)
        self._follow(places)
        ends = self._ends(places)
        deadline = time.monotonic() + _CATCH_UP_S
        while behind := [place for place in places if self._reached[place] < ends[place]]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the last stable offsets of {behind} were not reached in {_CATCH_UP_S:.0f} s")
            for message in self._consumer.consume(_READ, 0.01):
                self._take(message)

    def records(self, topic: str) -> list[Record]:
        """What was read of a topic: in order within each partition, and partitions merged by timestamp."""
        partitions = [records for (name, _), records in self._records.items() if name == topic]
        return list(merge(*partitions, key=lambda record: record.timestamp_ms))

    def next_offsets(self, topic: str) -> dict[Place, int]:
        """For each partition the offset after its last record; markers behind it are no records."""
        return {
            place: records[-1].offset + 1 if records else 0
            for place, records in self._records.items()
            if place[0] == topic
        }

    def _places(self, topics: Iterable[str]) -> list[Place]:
        wanted = set(topics)
        known = self._admin.list_topics(timeout=_LOOK_UP_S).topics
        return [(name, number) for name in sorted(wanted & known.keys()) for number in known[name].partitions]

    def _follow(self, places: list[Place]) -> None:
        new = [place for place in places if place not in self._reached]
        if new:
            self._consumer.incremental_assign([TopicPartition(*place, OFFSET_BEGINNING) for place in new])
        for place in new:
            self._reached[place], self._records[place] = 0, []

    def _ends(self, places: list[Place]) -> dict[Place, int]:
        if not places:
            return {}
        asked: dict[TopicPartition, OffsetSpec] = {TopicPartition(*place): OffsetSpec.latest() for place in places}
        answered = self._admin.list_offsets(
            asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=_LOOK_UP_S
        )
        return {(one.topic, one.partition): future.result().offset for one, future in answered.items()}

    def _take(self, message: Any) -> None:
        place = (message.topic(), message.partition())
        error = message.error()
        if error is None:
            self._records[place].append(record_of(message))
            self._reached[place] = message.offset() + 1
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  # librdkafka's name of a public code
            self._reached[place] = max(self._reached[place], message.offset())
        elif not error.retriable():
            raise FatalError(f"reading {place[0]}-{place[1]}: {error.str()}")


def committed_offsets(bootstrap: str, group: str, places: Iterable[Place]) -> dict[Place, int]:
    """The offsets that a group has committed; 0 where it has none."""
    stored = Cluster({"bootstrap.servers": bootstrap}).group_offsets(group, places)
    return {place: max(0, found.offset or 0) for place, found in stored.items()}
