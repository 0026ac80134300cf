"""The groups by their ids: found, made, written, replayed.

Owns: every group of the node, and the one way that a change of them is written. Must not know: requests, futures.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog

from tallystick.broker.groups.classic.group import ClassicGroup
from tallystick.broker.groups.classic.records import GroupGeneration
from tallystick.broker.groups.consumer.group import ConsumerGroup
from tallystick.broker.groups.consumer.records import ConsumerGroupChanged
from tallystick.broker.groups.offsets import GroupOffsets
from tallystick.broker.groups.records import (
    GroupDeleted,
    OffsetsCommitted,
    OffsetsDeleted,
    OffsetsPending,
    PendingOffsetsEnded,
)
from tallystick.broker.groups.settings import GroupSettings
from tallystick.broker.ports import Journal, JournalRecord
from tallystick.clock import Clock
from tallystick.wire.errors import ErrorCode

log = structlog.get_logger(__name__)

MAX_GROUPS: Final = 100_000
"""More groups than one machine's clients ever are: past it, something makes up group ids."""


@dataclass(slots=True)
class Group:
    """A group: who is in it, and how far it has read."""

    members: ClassicGroup | ConsumerGroup
    offsets: GroupOffsets

    @property
    def group_id(self) -> str:
        return self.offsets.group_id


class GroupTable:
    """All groups of the node. Only ``write`` changes what is durable."""

    def __init__(self, journal: Journal, clock: Clock, settings: GroupSettings) -> None:
        self._journal = journal
        self._clock = clock
        self._settings = settings
        self._groups: dict[str, Group] = {}

    def __iter__(self) -> Iterator[Group]:
        """Every group as of now; groups may come and go meanwhile."""
        return iter(list(self._groups.values()))

    def find(self, group_id: str) -> Group | None:
        return self._groups.get(group_id)

    def check_id(self, group_id: str) -> ErrorCode:
        """Whether there is or may be a group of this id."""
        if not group_id:
            return ErrorCode.invalid_group_id
        if group_id not in self._groups and len(self._groups) >= MAX_GROUPS:
            log.error("too many groups", limit=MAX_GROUPS)
            return ErrorCode.coordinator_not_available
        return ErrorCode.none

    def find_or_make(self, group_id: str) -> Group:
        """The group; a new one is empty and of the classic type, as one that only commits offsets stays."""
        group = self._groups.get(group_id)
        if group is None:
            group = self._groups[group_id] = Group(self._classic(group_id), GroupOffsets(group_id))
        return group

    def make_classic(self, group: Group) -> ClassicGroup:
        """Let an empty consumer group be a classic one. ``OSError``: it is what it was."""
        if isinstance(group.members, ClassicGroup):
            return group.members
        classic = self._classic(group.group_id)
        classic.persist({}, None)
        group.members = classic
        return classic

    def _as_classic(self, group: Group) -> ClassicGroup:
        if not isinstance(group.members, ClassicGroup):
            group.members = self._classic(group.group_id)
        return group.members

    def _as_consumer(self, group: Group) -> ConsumerGroup:
        if not isinstance(group.members, ConsumerGroup):
            group.members = ConsumerGroup(group.group_id)
        return group.members

    def _classic(self, group_id: str) -> ClassicGroup:
        return ClassicGroup(group_id, self._append_generation, self._settings)

    def _append_generation(self, record: GroupGeneration) -> GroupGeneration:
        stamped = msgspec.structs.replace(record, at_ms=self._clock.now_ms())
        self._journal.append(stamped)
        return stamped

    def write(self, record: JournalRecord) -> None:
        """Append, then apply. ``OSError``: neither. What cannot be applied is taken back: no start could apply it."""
        self._journal.append(record)
        try:
            self.replay(record)
        except BaseException:
            self._journal.take_back()
            raise

    def replay(self, record: JournalRecord) -> None:
        """Apply a record; what it does live and in recovery is the same."""
        match record:
            case OffsetsCommitted() | OffsetsPending() | PendingOffsetsEnded() | OffsetsDeleted():
                self.find_or_make(record.group_id).offsets.apply(record)
            case GroupGeneration():
                self._as_classic(self.find_or_make(record.group_id)).replay(record)
            case ConsumerGroupChanged():
                self._as_consumer(self.find_or_make(record.group_id)).apply(record)
            case GroupDeleted():
                self._groups.pop(record.group_id, None)
            case _:
                pass  # the other coordinator's

    def snapshot(self) -> Iterable[JournalRecord]:
        """Records that give the present groups again; a rebalance under way is not among them, as in recovery."""
        for group in self._groups.values():
            if isinstance(group.members, ConsumerGroup):
                yield from group.members.snapshot()
            elif group.members.persisted is not None:
                yield group.members.persisted
            yield from group.offsets.snapshot()


def not_written(failure: OSError, *, too_large: ErrorCode = ErrorCode.unknown_server_error) -> ErrorCode:
    """The answer when the journal cannot be written: nothing unwritten was applied, and a full disk is retriable.

    A record that is too large will be so the next time; the code is what Apache Kafka says then.
    """
    if failure.errno == errno.EMSGSIZE:
        log.warning("coordinator record refused", reason=failure.strerror)
        return too_large
    log.error("coordinator record not written", error=str(failure))
    return ErrorCode.coordinator_not_available
