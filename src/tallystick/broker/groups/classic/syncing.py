"""SyncGroup: the leader assigns, the others wait for it.

Owns: what a SyncGroup does to a group. Must not know: what an assignment says.
"""

from __future__ import annotations

from tallystick.broker.groups.classic.group import ClassicGroup
from tallystick.broker.groups.classic.members import GroupStatus, Sync, SyncReply
from tallystick.broker.groups.classic.rebalance import answer_sync
from tallystick.wire.errors import ErrorCode

S = GroupStatus


def sync(group: ClassicGroup, request: Sync, ticket: int, now_ms: int) -> None:
    """SyncGroup. Followers wait for the leader. ``OSError``: nothing happened, the leader may sync again."""
    error = _check_sync(group, request)
    if error is not ErrorCode.none:
        group.replies.append(SyncReply(ticket=ticket, error=error))
        return
    member = group.members[request.member_id]
    if group.status is S.COMPLETING_REBALANCE and member.member_id == group.leader_id:
        _assign(group, dict(request.assignments))
    group.unsynced.discard(member.member_id)
    if member.sync_ticket is not None:
        group.replies.append(SyncReply(ticket=member.sync_ticket, error=ErrorCode.rebalance_in_progress))
    member.sync_ticket = ticket
    if group.status is S.STABLE:
        for waiting in group.members.values():
            answer_sync(group, waiting, now_ms, error=ErrorCode.none)


def _check_sync(group: ClassicGroup, request: Sync) -> ErrorCode:
    error = group.check_member(request.member_id, request.group_instance_id)
    if error is not ErrorCode.none:
        return error
    if request.generation_id != group.generation_id:
        return ErrorCode.illegal_generation
    if request.protocol_type not in {None, group.protocol_type} or request.protocol_name not in {
        None,
        group.protocol_name,
    }:
        return ErrorCode.inconsistent_group_protocol
    if group.status is S.PREPARING_REBALANCE:
        return ErrorCode.rebalance_in_progress
    return ErrorCode.none


def _assign(group: ClassicGroup, assignments: dict[str, bytes]) -> None:
    before = {m.member_id: m.assignment for m in group.members.values()}
    for member in group.members.values():
        member.assignment = assignments.get(member.member_id, b"")
    try:
        group.persist(group.members, group.leader_id)
    except OSError:
        for member in group.members.values():
            member.assignment = before[member.member_id]
        raise
    group.change(S.STABLE)
