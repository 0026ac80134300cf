"""Where a partition starts, without ``auto.offset.reset`` (rule 10).

Owns: the note that travels in each offset commit's metadata, and the decision for a partition without an offset.
Must not know: Kafka's client.

A group that never committed for a topic starts at its earliest records. From then on each commit carries the topic's
id and ``partitions``: how many partitions, counted from 0, were seen to have committed offsets. A partition below
that number without an offset lost it (``offsets.retention.minutes``); one above it is new. A member only claims what
it has read, so that members which start at the same time cannot accuse each other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from tallystick.errors import ConfigurationError


class OffsetNote(msgspec.Struct, frozen=True, omit_defaults=True, tag="tallystick.1", tag_field="format"):
    """Metadata of an offset commit. Frozen format.

    ``lanes`` is the largest number of lanes that a member of the group ever had; it never goes down (rule 5).
    """

    topic_id: str
    partitions: int
    lanes: int = 1

    def encode(self) -> str:
        return msgspec.json.encode(self).decode()


_DECODER: Final = msgspec.json.Decoder(OffsetNote)
_OBJECT: Final = json.JSONDecoder()


def read_note(metadata: str | None) -> OffsetNote | None:
    """The note in a commit's metadata; None if somebody else wrote it. What follows its closing brace is not of it."""
    if not metadata:
        return None
    try:
        _, end = _OBJECT.raw_decode(metadata)
        return _DECODER.decode(metadata[:end])
    except (ValueError, msgspec.DecodeError):
        return None


@dataclass(frozen=True, slots=True)
class StoredOffset:
    """A committed offset as the coordinator answers it; ``offset`` None if there is none."""

    offset: int | None
    metadata: str | None = None

    @property
    def note(self) -> OffsetNote | None:
        """The note that came with it, if there is an offset and we wrote it."""
        return None if self.offset is None else read_note(self.metadata)


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """What the cluster says about a topic."""

    topic_id: str
    partitions: int


@dataclass(frozen=True, slots=True)
class Starts:
    """The partitions of a topic that need an explicit start at earliest, and the note for every commit."""

    missing: tuple[int, ...]
    note: OffsetNote


def covered(stored: Mapping[int, StoredOffset], partitions: int) -> int:
    """The largest n such that partitions 0 to n - 1 all have a committed offset."""
    count = 0
    while count < partitions and (found := stored.get(count)) is not None and found.offset is not None:
        count += 1
    return count


def lanes_so_far(stored: Iterable[StoredOffset]) -> int:
    """The largest number of lanes that the group's notes tell of."""
    return max((found.note.lanes for found in stored if found.note is not None), default=1)


def resolve(
    topic: str,
    facts: TopicFacts,
    stored: Mapping[int, StoredOffset],
    owned: Iterable[int],
    *,
    group: str,
    lanes: int = 1,
) -> Starts:
    """Starts for the ``owned`` partitions of ``topic``, from the committed offsets of all its partitions.

    ``lanes`` is the largest number of lanes known so far. ``ConfigurationError`` if offsets belong to a topic of the
    same name that no longer exists, or were lost.
    """
    claimed = 0
    for partition, found in sorted(stored.items()):
        note = found.note
        if note is None:
            continue
        if note.topic_id != facts.topic_id:
            raise ConfigurationError(
                f"group {group!r} has an offset for {topic}-{partition} of topic id {note.topic_id}, "
                f"and the topic has id {facts.topic_id}: it was deleted and made again",
                rule=10,
                remedy="Delete the group's offsets, or use another application name, to start with the new topic",
            )
        claimed = max(claimed, note.partitions)
    missing = tuple(sorted(p for p in owned if p not in stored or stored[p].offset is None))
    expired = [partition for partition in missing if partition < claimed]
    if expired:
        raise ConfigurationError(
            f"group {group!r} had offsets for {topic} partitions {expired}, and they are gone",
            rule=10,
            remedy="Set them by hand (kafka-consumer-groups --reset-offsets) after deciding what may be skipped "
            "or repeated; see offsets.retention.minutes",
        )
    partitions = max(claimed, covered(stored, facts.partitions))
    return Starts(missing, OffsetNote(facts.topic_id, partitions, max(lanes, lanes_so_far(stored.values()))))
