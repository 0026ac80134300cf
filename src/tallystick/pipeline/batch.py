"""A batch of records as polled, with their event ids.

Owns: ``Batch``, ``EventIds``. Must not know: librdkafka beyond the shape of a message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from tallystick.ids import EVENT_ID_HEADER, EventId, parse_event_id, position_id
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

    def of_position(self, topic: str, partition: int, offset: int) -> EventId:
        return position_id(
            cluster_id=self.cluster_id, topic_id=self.topic_ids[topic], partition=partition, offset=offset
        )

    def batch(self, messages: Iterable[Message]) -> Batch:
        """The messages as records; the id in the header first, else the position's."""
        records: list[Record] = []
        rejected: dict[int, BadEventId] = {}
        positions: dict[tuple[str, int], int] = {}
        for message in messages:
            topic, partition, offset = message.topic(), message.partition(), message.offset()
            headers: Headers = tuple(message.headers() or ())
            event_id: EventId | None = None
            for name, raw in headers:
                if name == EVENT_ID_HEADER:
                    try:
                        event_id = parse_event_id(raw or b"")
                    except ValueError as error:
                        rejected[len(records)] = BadEventId(f"header {EVENT_ID_HEADER} is {raw!r}: {error}")
                    break
            if event_id is None:
                event_id = self.of_position(topic, partition, offset)
            records.append(
                Record(
                    topic,
                    partition,
                    offset,
                    message.key(),
                    message.value(),
                    headers,
                    message.timestamp()[1],
                    event_id,
                )
            )
            positions[topic, partition] = offset + 1
        return Batch(tuple(records), rejected, positions)
