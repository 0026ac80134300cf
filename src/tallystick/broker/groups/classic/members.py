"""What the membership machine takes in and gives out: members, requests, replies.

Owns: these value types. Must not know: transitions, journals, sockets.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from tallystick.broker.groups.classic.records import GroupMember
from tallystick.wire.errors import ErrorCode

Protocols = tuple[tuple[str, bytes], ...]
"""Name and metadata of each protocol (assignor) that a member supports, in its order of preference."""


class GroupStatus(enum.Enum):
    """Apache Kafka's states of a classic group; the values are the names that DescribeGroups shows."""

    EMPTY = "Empty"
    PREPARING_REBALANCE = "PreparingRebalance"
    COMPLETING_REBALANCE = "CompletingRebalance"
    STABLE = "Stable"
    DEAD = "Dead"


@dataclass(slots=True)
class Member:
    """One member. ``deadline_ms`` is when its session ends; a ticket is a request of it that waits for an answer."""

    member_id: str
    group_instance_id: str | None
    client_id: str
    client_host: str
    session_timeout_ms: int
    rebalance_timeout_ms: int
    protocols: Protocols
    assignment: bytes = b""
    deadline_ms: int = 0
    join_ticket: int | None = None
    sync_ticket: int | None = None

    def metadata(self, protocol_name: str | None) -> bytes:
        return dict(self.protocols).get(protocol_name or "", b"")

    def persisted(self) -> GroupMember:
        return GroupMember(
            member_id=self.member_id,
            group_instance_id=self.group_instance_id,
            client_id=self.client_id,
            client_host=self.client_host,
            session_timeout_ms=self.session_timeout_ms,
            rebalance_timeout_ms=self.rebalance_timeout_ms,
            protocols=self.protocols,
            assignment=self.assignment,
        )

    @classmethod
    def from_persisted(cls, stored: GroupMember) -> Member:
        return cls(
            member_id=stored.member_id,
            group_instance_id=stored.group_instance_id,
            client_id=stored.client_id,
            client_host=stored.client_host,
            session_timeout_ms=stored.session_timeout_ms,
            rebalance_timeout_ms=stored.rebalance_timeout_ms,
            protocols=stored.protocols,
            assignment=stored.assignment,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """JoinGroup. ``fresh_member_id`` is an id that nobody has, for a member that comes without one."""

    member_id: str
    fresh_member_id: str
    group_instance_id: str | None = None
    client_id: str
    client_host: str
    session_timeout_ms: int
    rebalance_timeout_ms: int
    protocol_type: str
    protocols: Protocols
    requires_known_member_id: bool
    """From version 4 on: a dynamic member comes back with the id that it was given (KIP-394)."""
    supports_skipping_assignment: bool
    """From version 9 on: a returning static leader is told not to assign anew (KIP-814)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync:
    """SyncGroup. ``assignments`` is the leader's, by member id; protocol type and name are None before version 5."""

    member_id: str
    group_instance_id: str | None = None
    generation_id: int
    protocol_type: str | None = None
    protocol_name: str | None = None
    assignments: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedMember:
    """A member as the leader sees it."""

    member_id: str
    group_instance_id: str | None
    metadata: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinReply:
    """The answer to JoinGroup; ``members`` only for the leader."""

    ticket: int
    error: ErrorCode = ErrorCode.none
    member_id: str = ""
    generation_id: int = -1
    protocol_type: str | None = None
    protocol_name: str | None = None
    leader_id: str = ""
    skip_assignment: bool = False
    members: tuple[JoinedMember, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReply:
    """The answer to SyncGroup."""

    ticket: int
    error: ErrorCode = ErrorCode.none
    protocol_type: str | None = None
    protocol_name: str | None = None
    assignment: bytes = b""


Reply = JoinReply | SyncReply
