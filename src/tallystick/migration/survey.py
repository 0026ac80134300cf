"""What there is to move, and what forbids it.

Owns: ``Survey``. Must not know: how it is moved. Nothing is changed here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from tallystick.errors import ConfigurationError
from tallystick.operate import Cluster
from tallystick.operate.cluster import TopicPartition
from tallystick.operate.groups import CommittedOffset, committed_offsets, describe_group, list_groups
from tallystick.operate.topics import partition_ends, topic_settings

_LOOK_S: Final = 0.5

COPIES_GROUP: Final = "tallystick.migration"
"""Front of the group on the target under which the copy keeps its progress."""


@dataclass(frozen=True, slots=True)
class TopicToMove:
    """``begins`` and ``ends`` are offsets by partition; an end is the last stable offset."""

    name: str
    partitions: int
    settings: dict[str, str]
    begins: dict[int, int]
    ends: dict[int, int]


@dataclass(frozen=True, slots=True)
class Survey:
    """Topics by name, and what each group has committed in them."""

    topics: tuple[TopicToMove, ...]
    groups: dict[str, dict[TopicPartition, CommittedOffset]]

    @property
    def offsets_to_copy(self) -> int:
        """Markers and aborted records count too: nobody knows how many they are before they are read."""
        return sum(topic.ends[number] - topic.begins[number] for topic in self.topics for number in topic.ends)


def survey(source: Cluster, *, topics: Sequence[str], groups: Sequence[str], wait_s: float = 0.0) -> Survey:
    """Everything that the patterns of a shell name, internal topics left out.

    ``wait_s`` is how long groups may take to be empty: a static member stays in its group until its session ends.
    ``ConfigurationError`` names what stands in the way: a group with members, an open transaction, nothing to move.
    """
    moved = tuple(
        _topic(source, name)
        for name, found in sorted(source.topics().items())
        if not found.is_internal and _any(name, topics)
    )
    if not moved:
        raise ConfigurationError(f"no topic is named like {' or '.join(topics)}", remedy="tallystick topics list")
    names = {topic.name for topic in moved}
    deadline = time.monotonic() + wait_s
    held: dict[str, dict[TopicPartition, CommittedOffset]] = {}
    for group in list_groups(source):
        if not _any(group.name, groups) or group.name.startswith(COPIES_GROUP):
            continue
        offsets = {
            place: offset for place, offset in committed_offsets(source, group.name).items() if place.topic in names
        }
        if not offsets:
            continue
        _await_empty(source, group.name, deadline)
        held[group.name] = offsets
    return Survey(moved, held)


def _await_empty(source: Cluster, group: str, deadline: float) -> None:
    while describe_group(source, group).has_members:
        if time.monotonic() > deadline:
            raise ConfigurationError(
                f"group {group!r} has members: while it works, its position moves",
                remedy="Stop the application first; a static member stays in its group until its session ends "
                "(session.timeout.ms, 45 s by default), for which --wait waits. Or leave the group out with --group",
            )
        time.sleep(_LOOK_S)


def _topic(source: Cluster, name: str) -> TopicToMove:
    found = source.topics([name])[name]
    ends = partition_ends(source, found)
    for one in ends:
        if one.last_stable_offset < one.high_watermark:
            raise ConfigurationError(
                f"{one.place} has an open transaction at offset {one.last_stable_offset}: what it holds may be aborted "
                "or not",
                remedy="Stop its producer; tallystick txn open shows it, and tallystick txn abort ends one that hangs",
            )
    return TopicToMove(
        name=name,
        partitions=len(ends),
        settings=topic_settings(source, name),
        begins={one.place.partition: one.log_start_offset for one in ends},
        ends={one.place.partition: one.last_stable_offset for one in ends},
    )


def _any(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
