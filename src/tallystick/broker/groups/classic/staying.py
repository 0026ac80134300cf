"""Heartbeat, LeaveGroup, and who may commit offsets.

Owns: what they do to a group. Must not know: the offsets.
"""

from __future__ import annotations

from tallystick.broker.groups.classic.group import ClassicGroup
from tallystick.broker.groups.classic.members import GroupStatus
from tallystick.broker.groups.classic.rebalance import complete_join_if_all_joined, remove
from tallystick.wire.errors import ErrorCode

S = GroupStatus


def heartbeat(
    group: ClassicGroup, member_id: str, group_instance_id: str | None, generation_id: int, now_ms: int
) -> ErrorCode:
    """Heartbeat."""
    error = group.check_member(member_id, group_instance_id)
    if error is not ErrorCode.none:
        return error
    if generation_id != group.generation_id:
        return ErrorCode.illegal_generation
    group.touch(group.members[member_id], now_ms)
    return ErrorCode.rebalance_in_progress if group.status is S.PREPARING_REBALANCE else ErrorCode.none


def leave(group: ClassicGroup, member_id: str, group_instance_id: str | None, now_ms: int) -> ErrorCode:
    """LeaveGroup for one member; a static one may be named by its instance id alone."""
    if group.invited.pop(member_id, None) is not None:
        complete_join_if_all_joined(group, now_ms)
        return ErrorCode.none
    if group_instance_id is not None and member_id == "":
        member_id = group.static_ids.get(group_instance_id, "")
    error = group.check_member(member_id, group_instance_id)
    if error is ErrorCode.none:
        remove(group, group.members[member_id], now_ms)
    return error


def check_commit(
    group: ClassicGroup,
    member_id: str,
    group_instance_id: str | None,
    generation_id: int,
    now_ms: int,
    *,
    transactional: bool,
) -> ErrorCode:
    """Whether this caller may commit offsets (KIP-447). A member's commit also counts as its heartbeat."""
    if generation_id < 0 and group.status is S.EMPTY:
        return ErrorCode.none
    if generation_id >= 0 or member_id != "" or group_instance_id is not None:
        error = group.check_member(member_id, group_instance_id)
        if error is not ErrorCode.none:
            return error
        if generation_id != group.generation_id:
            return ErrorCode.illegal_generation
        group.touch(group.members[member_id], now_ms)
    elif not transactional:
        return ErrorCode.unknown_member_id
    if group.status is S.COMPLETING_REBALANCE and not transactional:
        return ErrorCode.rebalance_in_progress
    return ErrorCode.none
