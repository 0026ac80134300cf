"""One of the two clusters, and a reader of its partitions.

Owns: clients and their settings. Must not know: what the other side is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tallystick.errors import FatalError
from tallystick.ids import EVENT_ID_HEADER, EventId, PositionIds, parse_event_id
from tallystick.operate import ClientSettings, Cluster
from tallystick.pipeline.kafka_client import Cluster as Questions
from tallystick.pipeline.kafka_client import read_ranges
from tallystick.pipeline.starts import TopicFacts

_Raw = list[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class Moved:
    """A record as it is compared and copied: with its event id, and without the header that it is in."""

    offset: int
    event_id: EventId
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: _Raw

    def into(self, digest: hashlib.blake2b) -> None:
        """Each part with its length, so that no two records look alike."""
        digest.update(self.event_id.encode())
        digest.update(self.timestamp_ms.to_bytes(8, "big", signed=True))
        for part in (self.key, self.value):
            _add(digest, part)
        digest.update(len(self.headers).to_bytes(4, "big"))
        for name, value in self.headers:
            _add(digest, name.encode())
            _add(digest, value)

    def same_as(self, other: Moved) -> bool:
        """All but the offset."""
        return (self.event_id, self.timestamp_ms, self.key, self.value, self.headers) == (
            other.event_id,
            other.timestamp_ms,
            other.key,
            other.value,
            other.headers,
        )


@dataclass(slots=True)
class Side:
    """A cluster that is read from or written to. ``settings`` say how it is reached."""

    settings: ClientSettings
    cluster_id: str = field(init=False, default="")
    facts: dict[str, TopicFacts] = field(init=False, default_factory=dict)

    @property
    def client(self) -> dict[str, Any]:
        """Its settings for librdkafka."""
        return {"bootstrap.servers": self.settings.bootstrap, **self.settings.for_librdkafka()}

    def open(self) -> Cluster:
        return Cluster(self.settings)

    def look(self, topics: list[str]) -> None:
        """Learn the cluster's id and those of the topics that exist."""
        questions = Questions(self.client)
        self.cluster_id = questions.cluster_id()
        self.facts = questions.topics(topics)

    def ids(self, topic: str, partition: int) -> PositionIds:
        return PositionIds(cluster_id=self.cluster_id, topic_id=self.facts[topic].topic_id, partition=partition)

    def moved(self, message: Any, ids: PositionIds) -> Moved:
        """A client's message; an id in its header, else that of its position here."""
        event_id: EventId | None = None
        others: _Raw = []
        for name, value in message.headers() or ():
            if name == EVENT_ID_HEADER and event_id is None:
                event_id = _parsed(value, message)
            else:
                others.append((name, value))
        offset = message.offset()
        return Moved(offset, event_id or ids.at(offset), message.timestamp()[1], message.key(), message.value(), others)

    def read(self, topic: str, partition: int, begin: int, end: int) -> Iterator[Moved]:
        """The committed records from ``begin`` up to ``end``, which is a last stable offset."""
        ids = self.ids(topic, partition)
        for messages in read_ranges(self.client, {(topic, partition): (begin, end)}):
            for message in messages:
                yield self.moved(message, ids)


def _parsed(value: bytes | None, message: Any) -> EventId:
    try:
        return parse_event_id(value or b"")
    except ValueError as error:
        place = f"{message.topic()}-{message.partition()}@{message.offset()}"
        raise FatalError(f"{place}: header {EVENT_ID_HEADER} is {value!r}: {error}") from error


def _add(digest: hashlib.blake2b, part: bytes | None) -> None:
    digest.update((-1 if part is None else len(part)).to_bytes(4, "big", signed=True))
    if part:
        digest.update(part)
