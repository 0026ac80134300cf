"""What is persisted of a classic group.

Owns: the record types. Must not know: who decides, how a journal stores.
"""

from __future__ import annotations

import msgspec

from tallystick.broker.ports import JournalRecord


class GroupMember(msgspec.Struct, frozen=True):
    """A member with its assignment, as of the generation that it is persisted with."""

    member_id: str
    group_instance_id: str | None
    client_id: str
    client_host: str
    session_timeout_ms: int
    rebalance_timeout_ms: int
    protocols: tuple[tuple[str, bytes], ...]
    assignment: bytes


class GroupGeneration(JournalRecord, frozen=True, tag="group-generation"):
    """A group as it was when it last became stable or empty. ``at_ms`` is when that was; -1 in records of old."""

    group_id: str
    generation_id: int
    protocol_type: str | None
    protocol_name: str | None
    leader_id: str | None
    members: tuple[GroupMember, ...] = ()
    at_ms: int = -1
