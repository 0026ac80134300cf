"""A consumer group's state, and how records change it; live and in recovery.

Owns: members, epochs, targets, who owns which partition. Must not know: what to decide.
"""

from __future__ import annotations

import enum
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from tallystick.broker.groups.consumer.records import ConsumerGroupChanged, Member, Owned, Target
from tallystick.wire.errors import ErrorCode

MEMBERS_IN_A_RECORD: Final = 100


class ConsumerGroupStatus(enum.Enum):
    """Apache Kafka's states of a consumer group; the values are the names that are shown."""

    EMPTY = "Empty"
    ASSIGNING = "Assigning"
    RECONCILING = "Reconciling"
    STABLE = "Stable"


@dataclass(slots=True)
class ConsumerGroup:
    """One group. The epoch rises when targets must be computed anew; the assignment epoch is that of the targets."""

    group_id: str
    group_epoch: int = 0
    assignment_epoch: int = 0
    metadata_hash: int = 0
    assignor: str = ""
    members: dict[str, Member] = field(default_factory=dict)
    targets: dict[str, Target] = field(default_factory=dict)
    resolved: dict[str, frozenset[str]] = field(default_factory=dict)
    static_ids: dict[str, str] = field(default_factory=dict)
    owners: dict[tuple[uuid.UUID, int], str] = field(default_factory=dict)
    """Whose each partition is: assigned to that member, or not given up by it yet."""

    # --- applying -----------------------------------------------------------------------------------------------------

    def apply(self, record: ConsumerGroupChanged) -> None:
        """Take over a record of this group."""
        self.group_epoch = record.group_epoch
        self.assignment_epoch = record.assignment_epoch
        self.metadata_hash = record.metadata_hash
        self.assignor = record.assignor
        for member_id in record.removed:
            self._release(self.members.pop(member_id))
            self.targets.pop(member_id, None)
        for member in record.members:
            before = self.members.get(member.member_id)
            if before is not None:
                self._release(before)
            self.members[member.member_id] = member
            self._take(member)
        self.targets.update(record.targets)
        if record.members or record.removed:
            used = {member.regex for member in self.members.values()}
            self.resolved = {regex: topics for regex, topics in self.resolved.items() if regex in used}
        self.resolved.update((regex, frozenset(topics)) for regex, topics in record.resolved.items())

    def _release(self, member: Member) -> None:
        if member.instance_id is not None:
            self.static_ids.pop(member.instance_id, None)
        for place in _places(member):
            if self.owners.get(place) == member.member_id:
                del self.owners[place]

    def _take(self, member: Member) -> None:
        if member.instance_id is not None:
            self.static_ids[member.instance_id] = member.member_id
        self.owners.update(dict.fromkeys(_places(member), member.member_id))

    def snapshot(self) -> Iterator[ConsumerGroupChanged]:
        """Records that give this state again; several, so that none is too large for the journal."""
        yield self.changed()
        rest = iter(self.members.values())
        while members := tuple(islice(rest, MEMBERS_IN_A_RECORD)):
            targets = {m.member_id: self.targets[m.member_id] for m in members if m.member_id in self.targets}
            yield self.changed(members=members, targets=targets)
        for regex, topics in self.resolved.items():
            yield self.changed(resolved={regex: tuple(sorted(topics))})

    def changed(self, **changes: Any) -> ConsumerGroupChanged:
        """A record that changes this alone."""
        fields: dict[str, Any] = {
            "group_id": self.group_id,
            "group_epoch": self.group_epoch,
            "assignment_epoch": self.assignment_epoch,
            "metadata_hash": self.metadata_hash,
            "assignor": self.assignor,
        }
        return ConsumerGroupChanged(**(fields | changes))

    # --- asking -------------------------------------------------------------------------------------------------------

    @property
    def status(self) -> ConsumerGroupStatus:
        if not self.members:
            return ConsumerGroupStatus.EMPTY
        if self.group_epoch > self.assignment_epoch:
            return ConsumerGroupStatus.ASSIGNING
        if all(member.is_reconciled(self.assignment_epoch) for member in self.members.values()):
            return ConsumerGroupStatus.STABLE
        return ConsumerGroupStatus.RECONCILING

    @property
    def is_empty(self) -> bool:
        return not self.members

    def static_member(self, instance_id: str) -> Member | None:
        member_id = self.static_ids.get(instance_id)
        return None if member_id is None else self.members[member_id]

    def topics_of(self, member: Member) -> frozenset[str]:
        """What the member subscribes to, by name and by its regular expression."""
        return frozenset(member.topics) | self.resolved.get(member.regex, frozenset())

    def topics_read(self) -> frozenset[str]:
        """What members subscribe to."""
        return frozenset[str]().union(*(self.topics_of(member) for member in self.members.values()))

    def idle_since_ms(self, committed_ms: int, *, is_read: bool) -> int | None:
        """From when on the retention of an offset counts; None while a member reads its topic."""
        return None if is_read else committed_ms

    def check_offset_delete(self) -> ErrorCode:
        """Offsets of topics that nobody reads may always be deleted."""
        return ErrorCode.none


def _places(member: Member) -> list[tuple[uuid.UUID, int]]:
    owned: tuple[Owned, Owned] = (member.assigned, member.pending_revocation)
    return [
        (topic_id, partition) for part in owned for topic_id, partitions in part.items() for partition in partitions
    ]
