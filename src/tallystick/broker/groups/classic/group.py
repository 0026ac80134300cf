"""A group of the classic protocol: its members, generation, leader and state.

Owns: that state, the transitions between its values, how it is persisted and replayed. Must not know: sockets, futures,
clocks, committed offsets; what a request does to it (``joining``, ``rebalance``, ``syncing``, ``staying``).

Time, fresh ids and tickets (the request that waits) come in as arguments; answers collect in ``replies``, from where
the driver takes them. A group is persisted through ``append`` when it becomes stable or empty, before anybody is told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tallystick.broker.groups.classic.members import GroupStatus, Member, Reply
from tallystick.broker.groups.classic.records import GroupGeneration
from tallystick.broker.groups.classic.subscriptions import CONSUMER, subscribed_topics
from tallystick.broker.groups.settings import GroupSettings
from tallystick.errors import IllegalTransition
from tallystick.wire.errors import ErrorCode

S = GroupStatus

TRANSITIONS: Final[frozenset[tuple[GroupStatus, GroupStatus]]] = frozenset(
    {
        (S.EMPTY, S.PREPARING_REBALANCE),
        (S.STABLE, S.PREPARING_REBALANCE),
        (S.COMPLETING_REBALANCE, S.PREPARING_REBALANCE),
        (S.PREPARING_REBALANCE, S.COMPLETING_REBALANCE),
        (S.PREPARING_REBALANCE, S.EMPTY),
        (S.COMPLETING_REBALANCE, S.STABLE),
        (S.EMPTY, S.DEAD),
    }
)

Append = Callable[[GroupGeneration], GroupGeneration]
"""Writes the record with the time of day in it, and returns it so; ``OSError``: nothing was written."""


class ClassicGroup:
    """One group's members. Mutable, and owned by the coordinator's task alone."""

    def __init__(self, group_id: str, append: Append, settings: GroupSettings) -> None:
        self.group_id = group_id
        self.status = S.EMPTY
        self.generation_id = 0
        self.protocol_type: str | None = None
        self.protocol_name: str | None = None
        self.leader_id: str | None = None
        self.members: dict[str, Member] = {}
        self.persisted: GroupGeneration | None = None
        self.replies: list[Reply] = []
        self.append = append
        self.settings = settings
        self.static_ids: dict[str, str] = {}
        self.invited: dict[str, int] = {}
        """Ids given out with MEMBER_ID_REQUIRED that have not come back yet, and until when they may."""
        self.unsynced: set[str] = set()
        self.join_not_before_ms = 0
        self.initial_end_ms = 0
        self.newcomer_joined = False
        """While an empty group gathers its first members: until when it may, and whether one came meanwhile."""
        self.join_deadline_ms = 0
        self.sync_deadline_ms = 0

    def check_member(self, member_id: str, group_instance_id: str | None) -> ErrorCode:
        """Whether this is a member, and the present one of its instance id."""
        if group_instance_id is not None:
            current = self.static_ids.get(group_instance_id)
            if current is None:
                return ErrorCode.unknown_member_id
            return ErrorCode.none if current == member_id else ErrorCode.fenced_instance_id
        return ErrorCode.none if member_id in self.members else ErrorCode.unknown_member_id

    def touch(self, member: Member, now_ms: int) -> None:
        member.deadline_ms = now_ms + member.session_timeout_ms

    def persist(self, members: dict[str, Member], leader_id: str | None) -> None:
        record = GroupGeneration(
            group_id=self.group_id,
            generation_id=self.generation_id,
            protocol_type=self.protocol_type,
            protocol_name=self.protocol_name,
            leader_id=leader_id,
            members=tuple(m.persisted() for m in members.values()),
        )
        self.persisted = self.append(record)

    def replay(self, record: GroupGeneration) -> None:
        """The group as it was last stable or empty."""
        self.persisted = record
        self.generation_id = record.generation_id
        self.protocol_type = record.protocol_type
        self.protocol_name = record.protocol_name
        self.leader_id = record.leader_id
        self.members = {m.member_id: Member.from_persisted(m) for m in record.members}
        self.static_ids = {m.group_instance_id: m.member_id for m in record.members if m.group_instance_id is not None}
        self.status = S.STABLE if self.members else S.EMPTY

    @property
    def is_empty(self) -> bool:
        """Whether nobody is in it."""
        return self.status is S.EMPTY

    def topics_read(self) -> frozenset[str]:
        """What members subscribe to; nothing is known of members that are no consumers."""
        if self.protocol_type != CONSUMER:
            return frozenset()
        every = (metadata for member in self.members.values() for _, metadata in member.protocols)
        return frozenset[str]().union(*map(subscribed_topics, every))

    def check_offset_delete(self) -> ErrorCode:
        """Whether offsets of topics that nobody reads may be deleted: what other members than consumers need is
        unknown."""
        return ErrorCode.none if self.is_empty or self.protocol_type == CONSUMER else ErrorCode.non_empty_group

    def idle_since_ms(self, committed_ms: int, *, is_read: bool) -> int | None:
        """From when on the retention of an offset counts; None while the group may need it (KIP-211)."""
        if self.status is S.EMPTY and self.persisted is not None and self.persisted.at_ms >= 0:
            return self.persisted.at_ms
        if self.status is S.EMPTY:
            return committed_ms
        if self.protocol_type == CONSUMER and self.status is S.STABLE and not is_read:
            return committed_ms
        return None

    def start_sessions(self, now_ms: int) -> None:
        """After recovery: every member has a whole session timeout to show itself."""
        for member in self.members.values():
            self.touch(member, now_ms)

    def close(self) -> None:
        """Delete the group; only an empty one can be."""
        self.change(S.DEAD)

    def change(self, status: GroupStatus) -> None:
        if (self.status, status) not in TRANSITIONS:
            raise IllegalTransition("group", self.status.value, f"change to {status.value}")
        self.status = status
