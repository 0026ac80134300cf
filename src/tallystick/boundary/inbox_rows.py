"""The inbox as a table that takes a whole batch: what comes in, what was new, what was there.

Owns: the port, and the values that go in and out. Must not know: records, handlers, databases. The statements are
written by hand for each database (``inbox_postgresql``, ``inbox_sqlite``): built by SQLAlchemy for each batch, they
took longer than the rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Connection

from tallystick.boundary.horizons import Horizons
from tallystick.boundary.owner_epoch import OwnerClaim
from tallystick.boundary.stretches import Stretch
from tallystick.boundary.trail import Span

Arrival = tuple[str, str, str, int, int]
"""An event as it came in, the first in its batch with this id: event id, body hash, topic, partition, offset. A plain
tuple, because there is one for each event and a named one takes three times as long to make."""


def entries(arrivals: Iterable[Arrival]) -> list[str]:
    """All that there is to compare of each, in one text, as the databases put it together too (``ENTRY``)."""
    return [
        f"{digest}:{topic}:{partition}:{offset}:{event_id}" for event_id, digest, topic, partition, offset in arrivals
    ]


def is_same(stored: str | None, arrivals: Sequence[Arrival]) -> bool:
    """Whether each of them is among the entries that a database put together."""
    return stored is not None and set(stored.split(",")).issuperset(entries(arrivals))


class Known(NamedTuple):
    """An event that is in the inbox: its body, where it was first read, what it gave (encoded)."""

    event_id: str
    body_hash: str
    topic: str | None
    partition: int | None
    offset: int | None
    outputs: bytes | None


class Met(NamedTuple):
    """``found``: how many of the events asked for are in the inbox. ``others``, by id: those of them whose body or
    position is another, or that gave outputs; about the rest there is nothing to tell."""

    found: int
    others: Mapping[str, Known]
    span: Span | None = None
    """Where the rows stand, if all were found."""

    @classmethod
    def of(cls, rows: Sequence[Sequence[Any]], arrivals: Sequence[Arrival], span: Span | None = None) -> Met:
        """From rows with the columns of ``Known``."""
        here = {arrival[0]: arrival for arrival in arrivals}
        others = {row[0]: Known(*row) for row in rows if row[5] is not None or row[:5] != here[row[0]]}
        return cls(len(rows), others, span)


class Near(NamedTuple):
    """What stands at some positions, beginning with some place. ``given``, by id: those that gave outputs."""

    entries: frozenset[str] = frozenset()
    given: Mapping[str, Known] = MappingProxyType({})
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """What one transaction adds to a partition's row of ``tallystick_inbox_position``."""

    topic: str
    partition: int
    next_offset: int
    replays: int = 0
    duplicates: int = 0
    conflicts: int = 0


@dataclass(frozen=True, slots=True)
class Entered:
    """``new``: the ids that were not there. ``horizons`` are those of the moment after the rows went in."""

    new: Collection[str]
    horizons: Horizons


class InboxRows(Protocol):
    """All within the caller's transaction. Rows are touched in the order of their ids, so that two workers with the
    same events do not deadlock."""

    def enter(
        self,
        connection: Connection,
        scope: str,
        arrivals: Sequence[Arrival],
        *,
        now_ms: int,
        owners: Sequence[OwnerClaim],
    ) -> Entered:
        """Insert those that are new, ``arrivals`` being sorted by id. ``FencedError`` if a claim is stale."""
        ...

    def known(self, connection: Connection, scope: str, arrivals: Sequence[Arrival]) -> Met:
        """What is there of ``arrivals``, sorted by id and looked up by it."""
        ...

    def near(self, connection: Connection, scope: str, stretches: Sequence[Stretch], *, start: int, most: int) -> Near:
        """What stands in the table from ``start`` on, not much farther than ``most`` rows would, and is of one of the
        ``stretches``: at most ``most`` rows. No index is asked."""
        ...

    def finish(
        self,
        connection: Connection,
        scope: str,
        *,
        outputs: Sequence[tuple[str, bytes]],
        progress: Sequence[Progress],
        now_ms: int,
    ) -> None:
        """Store outputs by id, and how far each partition has come."""
        ...

    def take_back(self, connection: Connection, scope: str, event_ids: Sequence[str]) -> None:
        """What is not processed leaves no row that says it was."""
        ...
