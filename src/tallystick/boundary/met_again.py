"""What becomes of a record whose event is no news: a replay, a duplicate, or a conflict.

Owns: telling these apart, and the counts of each partition. Must not know: SQL; ``sql_effect`` writes what this finds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from operator import attrgetter

from tallystick.boundary.inbox_rows import Known, Progress
from tallystick.boundary.stretches import Stretch
from tallystick.pipeline.records import Record

_place, _offset = attrgetter("topic", "partition"), attrgetter("offset")


class Meeting(Enum):
    REPLAY = "met at the same position: work of an aborted or killed cycle"
    DUPLICATE = "met at another position: sent twice"
    CONFLICT = "the same id with another body (rule 27)"


def meeting(record: Record, known: Known, *, same_body: bool) -> Meeting:
    if not same_body:
        return Meeting.CONFLICT
    if (record.topic, record.partition, record.offset) == (known.topic, known.partition, known.offset):
        return Meeting.REPLAY
    return Meeting.DUPLICATE


@dataclass(slots=True)
class Positions:
    """How far the records of one batch bring each partition, and what was met on the way."""

    stretches: Sequence[Stretch]
    """One for each partition, always in the same order, so that two workers do not deadlock."""
    sizes: Mapping[tuple[str, int], int]
    """How many of the records are of each partition."""
    met: dict[tuple[str, int, Meeting], int] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Sequence[Record]) -> Positions:
        offsets: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
        for place, offset in zip(map(_place, records), map(_offset, records), strict=True):
            offsets[place].append(offset)
        return cls(
            sorted(Stretch(*place, min(found), max(found)) for place, found in offsets.items()),
            {place: len(found) for place, found in offsets.items()},
        )

    def add(self, record: Record, meeting: Meeting) -> None:
        key = (record.topic, record.partition, meeting)
        self.met[key] = self.met.get(key, 0) + 1

    def all_replays(self) -> None:
        """Every record of the batch is one."""
        self.met = {(topic, partition, Meeting.REPLAY): size for (topic, partition), size in self.sizes.items()}

    def count(self, meeting: Meeting) -> int:
        return sum(number for (_, _, kind), number in self.met.items() if kind is meeting)

    def progress(self) -> list[Progress]:
        """A row for each partition."""
        return [
            Progress(
                topic,
                partition,
                last + 1,
                replays=self.met.get((topic, partition, Meeting.REPLAY), 0),
                duplicates=self.met.get((topic, partition, Meeting.DUPLICATE), 0),
                conflicts=self.met.get((topic, partition, Meeting.CONFLICT), 0),
            )
            for topic, partition, _, last in self.stretches
        ]
