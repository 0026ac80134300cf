"""A batch of records as polled, with their event ids.

Owns: ``Batch``, ``EventIds``. Must not know: librdkafka beyond the shape of a message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from tallystick.ids import EVENT_ID_HEADER, EventId, PositionIds, parse_event_id
from tallystick.pipeline.records import Headers, Record


class Message(Protocol):
    """What is read of a client's message."""

    def topic(self) -> str: ...
    def partition(self) -> int: ...
    def offset(self) -> int: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> list[tuple[str, bytes]] | None: ...
    def timestamp(self) -> tuple[int, int]: ...


class BadEventId(ValueError):
    """A record's event-id header is no id; taking another id instead would defeat whoever counts on it."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Records in the order they were polled.

    ``rejected`` maps an index to why that record cannot be handled at all. ``positions`` is, for each partition in
    the batch, the offset of its last record plus one: what to commit (rule 8).
    """

    records: tuple[Record, ...]
    rejected: Mapping[int, BadEventId]
    positions: Mapping[tuple[str, int], int]


@dataclass(frozen=True, slots=True)
class EventIds:
    """Where a record without an id of its own gets one from: its position, on this cluster, in this topic (rule 26)."""

    cluster_id: str
    topic_ids: Mapping[str, str]

    def of_partition(self, topic: str, partition: int) -> PositionIds:
        return PositionIds(cluster_id=self.cluster_id, topic_id=self.topic_ids[topic], partition=partition)

    def batch(self, messages: Iterable[Message]) -> Batch:
        """The messages as records; the id in the header first, else the position's."""
        records: list[Record] = []
        rejected: dict[int, BadEventId] = {}
        positions: dict[tuple[str, int], int] = {}
        by_position: dict[tuple[str, int], PositionIds] = {}
        for message in messages:
            place = topic, partition = message.topic(), message.partition()
            offset, headers, event_id = message.offset(), message.headers(), None
            if headers:
                try:
                    event_id = _id_in(headers)
                except BadEventId as error:
                    rejected[len(records)] = error
            if event_id is None:
                ids = by_position.get(place)
                if ids is None:
                    ids = by_position[place] = self.of_partition(topic, partition)
                event_id = ids.at(offset)
            kept: Headers = tuple(headers) if headers else ()
            timestamp_ms = message.timestamp()[1]
            records.append(
                Record(topic, partition, offset, message.key(), message.value(), kept, timestamp_ms, event_id)
            )
            positions[place] = offset + 1
        return Batch(tuple(records), rejected, positions)


def _id_in(headers: Iterable[tuple[str, bytes]]) -> EventId | None:
    for name, raw in headers:
        if name == EVENT_ID_HEADER:
            try:
                return parse_event_id(raw or b"")
            except ValueError as error:
                raise BadEventId(f"header {EVENT_ID_HEADER} is {raw!r}: {error}") from error
    return None
