"""JoinGroup: newcomers, members that come again, static members that return (KIP-345, KIP-394).

Owns: what a JoinGroup does to a group. Must not know: when a rebalance is through (``rebalance``), sockets, clocks.
"""

from __future__ import annotations

from typing import Final

from tallystick.broker.groups.classic.group import ClassicGroup
from tallystick.broker.groups.classic.members import GroupStatus, Join, JoinReply, Member, SyncReply
from tallystick.broker.groups.classic.rebalance import join_reply, rebalance, select_protocol, shared_protocols
from tallystick.wire.errors import ErrorCode

S = GroupStatus

MAX_MEMBERS_BYTES: Final = 4 * 1024 * 1024
"""What the members of a group may say of themselves, all together. It stays in memory, and becomes one record."""


def join(group: ClassicGroup, request: Join, ticket: int, now_ms: int) -> None:
    """JoinGroup. The answer may come at once or when the rebalance is through."""
    if not _supports(group, request):
        _refuse_join(group, request, ticket, ErrorCode.inconsistent_group_protocol)
    elif _said_by_others(group, request.member_id) + _said_bytes(request) > MAX_MEMBERS_BYTES:
        _refuse_join(group, request, ticket, ErrorCode.group_max_size_reached)
    elif request.member_id == "":
        _join_newcomer(group, request, ticket, now_ms)
    elif request.member_id in group.invited and request.group_instance_id is None:
        del group.invited[request.member_id]
        _add(group, request.member_id, request, ticket, now_ms)
    else:
        _join_again(group, request, ticket, now_ms)


def _said_by_others(group: ClassicGroup, member_id: str) -> int:
    return sum(_said_bytes(member) for member in group.members.values() if member.member_id != member_id)


def _said_bytes(member: Member | Join) -> int:
    protocols = sum(len(name) + len(metadata) for name, metadata in member.protocols)
    return protocols + len(member.client_id) + len(member.group_instance_id or "")


def _supports(group: ClassicGroup, request: Join) -> bool:
    if not request.protocol_type or not request.protocols:
        return False
    if not group.members:
        return True
    shared = shared_protocols(group.members)
    return request.protocol_type == group.protocol_type and any(name in shared for name, _ in request.protocols)


def _join_newcomer(group: ClassicGroup, request: Join, ticket: int, now_ms: int) -> None:
    if (
        len(group.members) + len(group.invited) >= group.settings.group_max_size
        and request.group_instance_id not in group.static_ids
    ):
        _refuse_join(group, request, ticket, ErrorCode.group_max_size_reached)
        return
    if request.group_instance_id is not None:
        old_member_id = group.static_ids.get(request.group_instance_id)
        if old_member_id is None:
            _add(group, request.fresh_member_id, request, ticket, now_ms)
        else:
            _replace_static(group, old_member_id, request, ticket, now_ms)
    elif request.requires_known_member_id:
        group.invited[request.fresh_member_id] = now_ms + request.session_timeout_ms
        _refuse_join(group, request, ticket, ErrorCode.member_id_required, member_id=request.fresh_member_id)
    else:
        _add(group, request.fresh_member_id, request, ticket, now_ms)


def _join_again(group: ClassicGroup, request: Join, ticket: int, now_ms: int) -> None:
    error = group.check_member(request.member_id, request.group_instance_id)
    if error is not ErrorCode.none:
        _refuse_join(group, request, ticket, error)
        return
    member = group.members[request.member_id]
    unchanged = member.protocols == request.protocols
    settled = (group.status is S.STABLE and member.member_id != group.leader_id and unchanged) or (
        group.status is S.COMPLETING_REBALANCE and unchanged
    )
    if settled:
        # Its answer was lost, or it rejoins for nothing: the present generation stands.
        group.touch(member, now_ms)
        group.replies.append(join_reply(group, member, ticket))
        return
    _take_request(group, member, request, ticket)
    rebalance(group, now_ms)


def _add(group: ClassicGroup, member_id: str, request: Join, ticket: int, now_ms: int) -> None:
    member = _member(member_id, request)
    if not group.members:
        group.protocol_type = request.protocol_type
    group.members[member_id] = member
    if request.group_instance_id is not None:
        group.static_ids[request.group_instance_id] = member_id
    if group.leader_id is None:
        group.leader_id = member_id
    member.join_ticket = ticket
    group.touch(member, now_ms)
    group.newcomer_joined = group.status is S.PREPARING_REBALANCE and now_ms < group.join_not_before_ms
    rebalance(group, now_ms)


def _replace_static(group: ClassicGroup, old_member_id: str, request: Join, ticket: int, now_ms: int) -> None:
    """A static member came back under its instance id: it takes the old one's place, and the old one is fenced.

    In a stable group whose protocol stays the same it also takes the assignment, without a rebalance (KIP-345).
    """
    old = group.members[old_member_id]
    new = _member(request.fresh_member_id, request)
    new.assignment = old.assignment
    # Kept in its place, so that the order of members, which assignors sort by, does not change.
    members = {m.member_id: m for m in (new if m is old else m for m in group.members.values())}
    was_leader = group.leader_id == old_member_id
    leader_id = new.member_id if was_leader else group.leader_id
    keeps_assignment = group.status is S.STABLE and select_protocol(members) == group.protocol_name
    if keeps_assignment:
        group.persist(members, leader_id)
    _fence(group, old)
    group.members = members
    group.leader_id = leader_id
    group.static_ids[str(request.group_instance_id)] = new.member_id
    if old_member_id in group.unsynced:
        group.unsynced.remove(old_member_id)
        group.unsynced.add(new.member_id)
    group.touch(new, now_ms)
    if not keeps_assignment:
        new.join_ticket = ticket
        rebalance(group, now_ms)
    elif request.supports_skipping_assignment:
        group.replies.append(join_reply(group, new, ticket, skip_assignment=was_leader))
    else:
        # Before version 9 a returning leader is told that somebody else leads, so that it does not assign anew.
        leader = old_member_id if was_leader else str(leader_id)
        group.replies.append(join_reply(group, new, ticket, leader_id=leader))


def _fence(group: ClassicGroup, member: Member) -> None:
    if member.join_ticket is not None:
        group.replies.append(JoinReply(ticket=member.join_ticket, error=ErrorCode.fenced_instance_id))
    if member.sync_ticket is not None:
        group.replies.append(SyncReply(ticket=member.sync_ticket, error=ErrorCode.fenced_instance_id))


def _take_request(group: ClassicGroup, member: Member, request: Join, ticket: int) -> None:
    if member.join_ticket is not None:
        # The member gave up waiting and asks again over another connection; nobody reads the first answer.
        group.replies.append(JoinReply(ticket=member.join_ticket, error=ErrorCode.rebalance_in_progress))
    member.protocols = request.protocols
    member.client_id = request.client_id
    member.client_host = request.client_host
    member.session_timeout_ms = request.session_timeout_ms
    member.rebalance_timeout_ms = request.rebalance_timeout_ms
    member.join_ticket = ticket


def _refuse_join(
    group: ClassicGroup, request: Join, ticket: int, error: ErrorCode, *, member_id: str | None = None
) -> None:
    group.replies.append(
        JoinReply(ticket=ticket, error=error, member_id=request.member_id if member_id is None else member_id)
    )


def _member(member_id: str, request: Join) -> Member:
    return Member(
        member_id=member_id,
        group_instance_id=request.group_instance_id,
        client_id=request.client_id,
        client_host=request.client_host,
        session_timeout_ms=request.session_timeout_ms,
        rebalance_timeout_ms=request.rebalance_timeout_ms,
        protocols=request.protocols,
    )
