"""Both sides read beside each other: the same records in the same order, and where each group's next one is.

Owns: the comparison. Must not know: clients, how records were copied. It trusts nothing of the copy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest

from tallystick.errors import FatalError
from tallystick.ids import EventId
from tallystick.migration.side import Moved

_EACH = 5_000


class Differs(FatalError):
    """The two sides are not the same; the message names the first place."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a group that had committed an offset goes on."""

    to_offset: int
    next_event_id: EventId | None


@dataclass(frozen=True, slots=True)
class Compared:
    """``positions`` are by the offset that was committed on the source."""

    records: int
    digest: str
    positions: dict[int, Position]


def compare(
    place: str,
    source: Iterator[Moved],
    target: Iterator[Moved],
    committed: Mapping[str, int],
    progress: Callable[[int], None] = lambda _records: None,
) -> Compared:
    """Compare one partition. ``committed`` is each group's offset on the source.

    Each side is digested by itself, from its own records. ``Differs`` at the first record that is not the same, or
    is on one side only.
    """
    digests = hashlib.blake2b(digest_size=16), hashlib.blake2b(digest_size=16)
    waiting = sorted(set(committed.values()), reverse=True)
    positions: dict[int, Position] = {}
    records = end = 0
    for one, other in zip_longest(source, target):
        if one is None or other is None or not one.same_as(other):
            raise Differs(_difference(place, one, other, records))
        one.into(digests[0])
        other.into(digests[1])
        while waiting and one.offset >= waiting[-1]:
            positions[waiting.pop()] = Position(other.offset, other.event_id)
        records, end = records + 1, other.offset + 1
        if records % _EACH == 0:
            progress(_EACH)
    progress(records % _EACH)
    for offset in waiting:
        positions[offset] = Position(end, None)
    first, second = (digest.hexdigest() for digest in digests)
    if first != second:
        raise Differs(f"{place}: {records} records are the same one by one, and their digests are not")
    return Compared(records, first, positions)


def _difference(place: str, one: Moved | None, other: Moved | None, index: int) -> str:
    if one is None and other is not None:
        return f"{place}: the target has a record more, at its offset {other.offset}: {other.event_id}"
    if other is None and one is not None:
        return f"{place}: the target lacks the record at offset {one.offset} of the source: {one.event_id}"
    if one is None or other is None:
        return f"{place}: both sides ended"
    return (
        f"{place}: record number {index} differs: offset {one.offset} of the source is event {one.event_id}, "
        f"offset {other.offset} of the target is event {other.event_id}"
    )
