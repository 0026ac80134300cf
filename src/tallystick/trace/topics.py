"""An event in Kafka: its records, those that were made of it, the transactions they are in, and who has read them.

Records are found by the header ``tallystick-event-id``, children by their ids: an output's id follows from its input's
id, the step and the output's ordinal, so that nothing has to be guessed and no payload is read.
Owns: reading logs as batches, because only those tell the producer and the marker. Must not know: SQL.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from tallystick.errors import FatalError
from tallystick.ids import EVENT_ID_HEADER, EventId, derived_id, parse_event_id
from tallystick.operate.cluster import Cluster, TopicPartition
from tallystick.operate.groups import committed_offsets, list_groups
from tallystick.operate.logs import batches
from tallystick.trace.moment import Moment
from tallystick.wire.records import decode_batch, read_marker

RECORDS_MAX: Final = 5_000_000
"""More records than this are refused: name the topics."""
ORDINALS_MAX: Final = 64
"""Outputs of one step and one event that are looked for."""
GENERATIONS_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class Found:
    """One record of an event."""

    place: TopicPartition
    offset: int
    timestamp_ms: int
    producer_id: int
    producer_epoch: int
    is_transactional: bool


@dataclass(frozen=True, slots=True)
class _Marker:
    offset: int
    commit: bool
    at_ms: int


@dataclass(slots=True)
class Index:
    """What the logs of some topics hold, by event id; and the markers by partition and producer."""

    records: dict[str, list[Found]] = field(default_factory=dict)
    markers: dict[tuple[TopicPartition, int], list[_Marker]] = field(default_factory=dict)
    size: int = 0

    @classmethod
    def of(cls, cluster: Cluster, topics: Iterable[str]) -> Index:
        """Reads all of it. ``FatalError`` if that is too much."""
        index = cls()
        for topic in cluster.topics(topics).values():
            for place in topic.partitions:
                index._read(cluster, place)
        return index

    def _read(self, cluster: Cluster, place: TopicPartition) -> None:
        for header, batch in batches(cluster, place):
            if header.is_control:
                marker = read_marker(batch)
                self.markers.setdefault((place, header.producer_id), []).append(
                    _Marker(header.base_offset, marker.commit, header.max_timestamp_ms)
                )
                continue
            self.size += header.record_count
            if self.size > RECORDS_MAX:
                raise FatalError(f"these topics have more than {RECORDS_MAX:,} records; name fewer with --topic")
            for record in decode_batch(batch)[1]:
                for name, value in record.headers:
                    if name == EVENT_ID_HEADER and value is not None:
                        self.records.setdefault(value.decode("ascii", "replace"), []).append(
                            Found(
                                place,
                                record.offset,
                                record.timestamp_ms,
                                header.producer_id,
                                header.producer_epoch,
                                header.is_transactional,
                            )
                        )

    def fate(self, found: Found) -> tuple[str, int | None]:
        """What became of the record's transaction, in words, and when it ended."""
        if not found.is_transactional:
            return "without a transaction", None
        markers = self.markers.get((found.place, found.producer_id), [])
        at = bisect_right([marker.offset for marker in markers], found.offset)
        if at == len(markers):
            return "in a transaction that is open", None
        return ("committed" if markers[at].commit else "aborted: no reader of committed records sees it"), markers[
            at
        ].at_ms

    def family(self, event_id: str, steps: Collection[str]) -> dict[str, str]:
        """The event and all that were made of it and are in these logs: id, and how it came to be.

        What is no UUID is the event alone: an inbox takes any text (docs/boundary.md), and no record has it.
        """
        known = {event_id: "the event"}
        frontier = [event_id] if _is_event_id(event_id) else []
        for _ in range(GENERATIONS_MAX):
            children: dict[str, str] = {
                child: f"output {ordinal} of step {step}"
                for parent in frontier
                for step in sorted(steps)
                for ordinal in range(ORDINALS_MAX)
                if (child := derived_id(EventId(parent), step, ordinal)) in self.records and child not in known
            }
            if not children:
                break
            known |= children
            frontier = list(children)
        return known


def _is_event_id(text: str) -> bool:
    try:
        parse_event_id(text.encode())
    except ValueError:
        return False
    return True


def steps_of(cluster: Cluster) -> set[str]:
    """The names of steps, as the groups of applications have them at their end."""
    return {group.name.rpartition(".")[2] for group in list_groups(cluster) if "." in group.name}


def moments(cluster: Cluster, index: Index, family: Mapping[str, str]) -> Iterator[Moment]:
    """Of each record of the family: that it was written, how its transaction ended, which groups are past it."""
    offsets = {group.name: committed_offsets(cluster, group.name) for group in list_groups(cluster)}
    for event_id, origin in family.items():
        for found in index.records.get(event_id, []):
            where = f"{found.place}@{found.offset}"
            fate, ended_ms = index.fate(found)
            writer = (
                f"producer {found.producer_id}, epoch {found.producer_epoch}"
                if found.producer_id >= 0
                else "a producer"
            )
            yield Moment(found.timestamp_ms, event_id, where, f"{origin}: written by {writer}, {fate}")
            if ended_ms is not None:
                yield Moment(
                    ended_ms,
                    event_id,
                    where,
                    f"the transaction of producer {found.producer_id} is {fate.split(':')[0]}",
                )
            for group, committed in offsets.items():
                if found.place in committed:
                    past = committed[found.place].offset > found.offset
                    done = "has consumed it" if past else "has not consumed it"
                    yield Moment(
                        None, event_id, where, f"group {group} {done}: its offset is {committed[found.place].offset}"
                    )
