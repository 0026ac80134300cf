"""Moving a group to another place in its topics: planned first, shown, then done.

Owns: the plan, and what forbids it. Must not know: how it is shown.

A move backwards repeats the group's work, a move forwards skips work. Inside Kafka the outputs of repeated records are
written a second time, under the same event ids. Effects behind an inbox with unique ids are not repeated, as long as
the inbox still remembers those ids: look at its horizon before a reset that goes far back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tallystick.errors import ConfigurationError, FatalError
from tallystick.operate.cluster import Cluster, TopicPartition
from tallystick.operate.groups import CommittedOffset, Group, committed_offsets, describe_group, set_offsets
from tallystick.operate.offsets import EARLIEST, LATEST, list_offsets

_MEMBERS_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Move:
    """One partition's part of a reset. ``metadata`` stays what it was: a Tallystick application keeps a note there."""

    place: TopicPartition
    old_offset: int
    new_offset: int
    metadata: str

    @property
    def repeats_records(self) -> int:
        return max(0, self.old_offset - self.new_offset)

    @property
    def skips_records(self) -> int:
        return max(0, self.new_offset - self.old_offset)


@dataclass(frozen=True, slots=True)
class Target:
    """Where to: exactly one of an offset, a time (milliseconds since 1970, or EARLIEST or LATEST), or a shift."""

    offset: int | None = None
    time_ms: int | None = None
    shift: int | None = None

    def __post_init__(self) -> None:
        if sum(value is not None for value in (self.offset, self.time_ms, self.shift)) != 1:
            raise ConfigurationError("a reset needs one target: an offset, a time, earliest, latest or a shift")


def plan_reset(
    cluster: Cluster, group: str, target: Target, *, topic: str | None = None, partition: int | None = None
) -> list[Move]:
    """What a reset would do, for the partitions that the group has offsets in. Nothing is changed.

    Offsets outside the log are brought to its nearest end. ``FatalError`` if the group has members, or no offsets.
    """
    described = describe_group(cluster, group)
    if described.has_members:
        raise FatalError(_has_members(described))
    committed = {
        place: found
        for place, found in committed_offsets(cluster, group, stable=True).items()
        if topic in (None, place.topic) and partition in (None, place.partition)
    }
    if not committed:
        raise FatalError(f"group {group!r} has no offsets" + (f" in topic {topic!r}" if topic else ""))
    first = list_offsets(cluster, dict.fromkeys(committed, EARLIEST), stable=False)
    last = list_offsets(cluster, dict.fromkeys(committed, LATEST), stable=True)
    at_time: Mapping[TopicPartition, int] = {}
    if target.time_ms is not None:
        at_time = list_offsets(cluster, dict.fromkeys(committed, target.time_ms), stable=True)

    def wanted(place: TopicPartition) -> int:
        if target.offset is not None:
            return target.offset
        if target.shift is not None:
            return committed[place].offset + target.shift
        return last[place] if at_time[place] < 0 else at_time[place]

    return [
        Move(place, found.offset, min(max(wanted(place), first[place]), last[place]), found.metadata)
        for place, found in sorted(committed.items())
    ]


def _has_members(group: Group) -> str:
    text = f"group {group.name!r} has members: stop them first, their next commit would undo the reset"
    static = sorted(member.instance_id for member in group.members if member.instance_id)
    if not static:
        return text
    shown = ", ".join(static[:_MEMBERS_SHOWN]) + (", ..." if len(static) > _MEMBERS_SHOWN else "")
    return (
        f"{text}. A static member ({shown}) that was stopped leaves only when its session ends "
        "(session.timeout.ms, 45 s by default): try again then"
    )


def carry_out(cluster: Cluster, group: str, moves: list[Move]) -> None:
    """Do what was planned. A group that gained members since is refused by its coordinator."""
    set_offsets(cluster, group, {move.place: CommittedOffset(move.new_offset, move.metadata) for move in moves})
