"""What readers saw, on disk and in parts: while the trial runs, and when everything is read again at its end.

Owns: the records of one reader, and both views of some topics. Must not know: what should be there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from tallystick.verify.oracle import Position, Seen, TopicView
from tallystick.verify.oracle.read import NO_SETTINGS, Identify, read_each
from tallystick.verify.trial.shelf import Shelf, part_of

NO_ENDS: Final[dict[int, int]] = {}


class _Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    topic: str
    partition: int
    offset: int
    key: bytes | None
    identity: str
    body_hash: str
    at_ms: int

    def seen(self) -> Seen:
        return Seen(Position(self.topic, self.partition, self.offset), self.key, self.identity, self.body_hash)


class Sightings:
    """The records that one reader saw, in its order, each with the time of its sight."""

    def __init__(self, folder: Path, *, accounts: int) -> None:
        self._shelf = Shelf(_Row, folder)
        self._accounts = accounts

    def note(self, record: Seen, at_ms: int = 0) -> None:
        at, identity = record.position, record.identity
        row = _Row(at.topic, at.partition, at.offset, record.key, identity, record.body_hash, at_ms)
        self._shelf.put(part_of(identity, accounts=self._accounts), row)

    def part(self, number: int) -> list[Seen]:
        return [row.seen() for row in self._shelf.part(number)]

    def first_seen(self, number: int) -> dict[Position, int]:
        """When each record of a part was seen first, in milliseconds since the beginning."""
        found: dict[Position, int] = {}
        for row in self._shelf.part(number):
            found.setdefault(row.seen().position, row.at_ms)
        return found

    def close(self) -> None:
        self._shelf.close()


def views_of(topics: Sequence[str], committed: Sequence[Seen], uncommitted: Sequence[Seen]) -> tuple[TopicView, ...]:
    """Both views of each topic; without ends, which are not a part's."""
    return tuple(
        TopicView(topic, tuple(_of(topic, committed)), tuple(_of(topic, uncommitted)), NO_ENDS, NO_ENDS)
        for topic in topics
    )


def _of(topic: str, records: Sequence[Seen]) -> Iterator[Seen]:
    return (record for record in records if record.topic == topic)


class Views:
    """Both views of some topics, as they are now. ``read`` raises what ``read_each`` raises."""

    def __init__(self, folder: Path, topics: Sequence[str], *, accounts: int) -> None:
        self._topics = tuple(topics)
        self._committed = Sightings(folder, accounts=accounts)
        self._uncommitted = Sightings(folder, accounts=accounts)
        self._stable: dict[str, dict[int, int]] = {}
        self._high: dict[str, dict[int, int]] = {}

    def read(
        self, bootstrap: str, *, identify: Identify, timeout_s: float, client: Mapping[str, str] = NO_SETTINGS
    ) -> None:
        """``read_committed`` first: what commits in between is missing from it, never the other way round."""
        settings = {"bootstrap.servers": bootstrap, **client}
        for topic in self._topics:
            for isolation, ends, into in (
                ("read_committed", self._stable, self._committed),
                ("read_uncommitted", self._high, self._uncommitted),
            ):
                ends[topic] = read_each(settings, topic, isolation, into.note, identify=identify, timeout_s=timeout_s)

    def ends(self) -> tuple[TopicView, ...]:
        """Where the topics end, without any record."""
        return tuple(TopicView(topic, (), (), self._stable[topic], self._high[topic]) for topic in self._topics)

    def part(self, number: int) -> tuple[TopicView, ...]:
        """The records of a part by their positions; what they know of ends is which of them are stable."""
        committed, uncommitted = (
            sorted(one.part(number), key=lambda record: record.position) for one in (self._committed, self._uncommitted)
        )
        return tuple(
            TopicView(view.topic, view.committed, view.uncommitted, self._stable[view.topic], NO_ENDS)
            for view in views_of(self._topics, committed, uncommitted)
        )

    def close(self) -> None:
        self._committed.close()
        self._uncommitted.close()
