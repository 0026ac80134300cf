"""A batch as polled: its records with their event ids, and the positions behind them.

Owns: ``Batch``, ``EventIds``. Must not know: librdkafka beyond the shape of a message, what is in the records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tallystick.ids import EVENT_ID_HEADER, EventId, PositionIds, parse_event_id
from tallystick.pipeline.polled import Message, MessageHeaders, Polled, Run, edges
from tallystick.pipeline.records import Record


class BadEventId(ValueError):
    """A record's event-id header is no id; taking another id instead would defeat whoever counts on it."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Records in the order they were polled.

    ``rejected`` maps an index to why that record cannot be handled at all. ``positions`` is, for each partition in
    the batch, the offset of its last record plus one: what to commit (rule 8).
    """

    records: Sequence[Record]
    rejected: Mapping[int, BadEventId]
    positions: Mapping[tuple[str, int], int]
    runs: Sequence[Run] = ()


class EventIds:
    """Where a record without an id of its own gets one from: its position, on this cluster, in this topic (rule 26)."""

    def __init__(self, cluster_id: str, topic_ids: Mapping[str, str]) -> None:
        self._cluster_id = cluster_id
        self._topic_ids = topic_ids
        self._of: dict[tuple[str, int], PositionIds] = {}
        self._only = next(iter(topic_ids)) if len(topic_ids) == 1 else None

    def of_partition(self, topic: str, partition: int) -> PositionIds:
        place = (topic, partition)
        ids = self._of.get(place)
        if ids is None:
            topic_id = self._topic_ids[topic]
            ids = self._of[place] = PositionIds(cluster_id=self._cluster_id, topic_id=topic_id, partition=partition)
        return ids

    def batch(self, messages: Sequence[Message]) -> Batch:
        """The messages as records; the id in the header first, else the position's."""
        runs = self._runs(messages)
        rejected: dict[int, BadEventId] = {}
        given: list[EventId | None] | None = None
        kind = type(messages[0]) if messages else Message
        headers = list(map(kind.headers, messages))
        if headers.count(None) != len(headers):
            given = [_id_in(one, index, rejected) if one else None for index, one in enumerate(headers)]
        positions = {(run.topic, run.partition): run.offsets[-1] + 1 for run in runs}
        return Batch(Polled(messages, runs, headers, given), rejected, positions, runs)

    def _runs(self, messages: Sequence[Message]) -> list[Run]:
        if not messages:
            return []
        kind = type(messages[0])
        partitions, offsets = list(map(kind.partition, messages)), list(map(kind.offset, messages))
        topics = () if self._only else (list(map(kind.topic, messages)),)
        return [
            Run(self._only or messages[start].topic(), partitions[start], offsets[start:end], self.of_partition)
            for start, end in pairwise(edges(partitions, *topics))
        ]


def _id_in(headers: MessageHeaders, index: int, rejected: dict[int, BadEventId]) -> EventId | None:
    for name, raw in headers:
        if name == EVENT_ID_HEADER:
            try:
                return parse_event_id(raw or b"")
            except ValueError as error:
                rejected[index] = BadEventId(f"header {EVENT_ID_HEADER} is {raw!r}: {error}")
                return None
    return None
