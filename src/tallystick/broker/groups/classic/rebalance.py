"""A rebalance from its begin to the next generation, and what time does to a group.

Owns: the joining phase, its end, members that are gone, the choice of the protocol. Must not know: why it begins.
"""

from __future__ import annotations

from collections import Counter

from tallystick.broker.groups.classic.group import ClassicGroup
from tallystick.broker.groups.classic.members import GroupStatus, JoinedMember, JoinReply, Member, SyncReply
from tallystick.wire.errors import ErrorCode

S = GroupStatus


def rebalance(group: ClassicGroup, now_ms: int) -> None:
    """Begin a rebalance, unless one is being prepared already; complete it if everybody is there."""
    if group.status is not S.PREPARING_REBALANCE:
        for member in group.members.values():
            answer_sync(group, member, now_ms, error=ErrorCode.rebalance_in_progress)
        group.join_not_before_ms = now_ms
        if group.status is S.EMPTY:
            group.join_not_before_ms += group.settings.group_initial_rebalance_delay_ms
            group.initial_end_ms = now_ms + _rebalance_timeout_ms(group)
            group.newcomer_joined = False
        group.unsynced.clear()
        group.change(S.PREPARING_REBALANCE)
        group.join_deadline_ms = now_ms + _rebalance_timeout_ms(group)
    complete_join_if_all_joined(group, now_ms)


def _rebalance_timeout_ms(group: ClassicGroup) -> int:
    return max((m.rebalance_timeout_ms for m in group.members.values()), default=0)


def _gather_longer(group: ClassicGroup, now_ms: int) -> None:
    """Each first member that comes during the initial delay makes it longer, up to the rebalance timeout (KIP-134)."""
    if group.newcomer_joined and group.join_not_before_ms <= now_ms < group.initial_end_ms:
        group.newcomer_joined = False
        group.join_not_before_ms = min(now_ms + group.settings.group_initial_rebalance_delay_ms, group.initial_end_ms)


def complete_join_if_all_joined(group: ClassicGroup, now_ms: int) -> None:
    if group.status is S.PREPARING_REBALANCE:
        _gather_longer(group, now_ms)
    if (
        group.status is S.PREPARING_REBALANCE
        and not group.invited
        and now_ms >= group.join_not_before_ms
        and all(m.join_ticket is not None for m in group.members.values())
    ):
        _complete_join(group, now_ms)


def _complete_join(group: ClassicGroup, now_ms: int) -> None:
    """Whoever joined makes the next generation. Static members keep their place until their session ends."""
    for member in list(group.members.values()):
        if member.join_ticket is None and member.group_instance_id is None:
            forget(group, member)
    joined = [m for m in group.members.values() if m.join_ticket is not None]
    if group.members and not joined:
        group.join_deadline_ms = now_ms + _rebalance_timeout_ms(group)
        return
    if joined and group.leader_id not in {m.member_id for m in joined}:
        group.leader_id = joined[0].member_id
    group.generation_id += 1
    if not joined:
        group.leader_id = group.protocol_name = None
        group.change(S.EMPTY)
        group.persist(group.members, None)
        return
    group.protocol_name = select_protocol(group.members)
    group.change(S.COMPLETING_REBALANCE)
    group.sync_deadline_ms = now_ms + _rebalance_timeout_ms(group)
    group.unsynced = {m.member_id for m in joined}
    for member in joined:
        ticket, member.join_ticket = member.join_ticket, None
        if ticket is not None:
            group.replies.append(join_reply(group, member, ticket))
        group.touch(member, now_ms)


def remove(group: ClassicGroup, member: Member, now_ms: int) -> None:
    forget(group, member)
    rebalance(group, now_ms)


def forget(group: ClassicGroup, member: Member) -> None:
    del group.members[member.member_id]
    group.unsynced.discard(member.member_id)
    if member.group_instance_id is not None:
        del group.static_ids[member.group_instance_id]
    if group.leader_id == member.member_id:
        group.leader_id = next(iter(group.members), None)
    if member.join_ticket is not None:
        group.replies.append(JoinReply(ticket=member.join_ticket, error=ErrorCode.unknown_member_id))
    if member.sync_ticket is not None:
        group.replies.append(SyncReply(ticket=member.sync_ticket, error=ErrorCode.unknown_member_id))


def answer_sync(group: ClassicGroup, member: Member, now_ms: int, *, error: ErrorCode) -> None:
    if member.sync_ticket is None:
        return
    ticket, member.sync_ticket = member.sync_ticket, None
    group.touch(member, now_ms)
    if error is not ErrorCode.none:
        group.replies.append(SyncReply(ticket=ticket, error=error))
        return
    group.replies.append(
        SyncReply(
            ticket=ticket,
            protocol_type=group.protocol_type,
            protocol_name=group.protocol_name,
            assignment=member.assignment,
        )
    )


def tick(group: ClassicGroup, now_ms: int) -> None:
    """Expire invitations, sessions, the joining phase and the syncing phase."""
    expired = [member_id for member_id, until_ms in group.invited.items() if now_ms >= until_ms]
    for member_id in expired:
        del group.invited[member_id]
    for member in list(group.members.values()):
        waits = member.join_ticket is not None or member.sync_ticket is not None
        if not waits and now_ms >= member.deadline_ms and member.member_id in group.members:
            remove(group, member, now_ms)
    if group.status is S.PREPARING_REBALANCE:
        if now_ms >= group.join_deadline_ms:
            _complete_join(group, now_ms)
        else:
            complete_join_if_all_joined(group, now_ms)
    elif group.unsynced and now_ms >= group.sync_deadline_ms:
        for member_id in group.unsynced & group.members.keys():
            forget(group, group.members[member_id])
        rebalance(group, now_ms)


def join_reply(
    group: ClassicGroup, member: Member, ticket: int, *, leader_id: str | None = None, skip_assignment: bool = False
) -> JoinReply:
    leader = str(group.leader_id) if leader_id is None else leader_id
    members: tuple[JoinedMember, ...] = ()
    if leader == member.member_id:
        members = tuple(
            JoinedMember(
                member_id=m.member_id,
                group_instance_id=m.group_instance_id,
                metadata=m.metadata(group.protocol_name),
            )
            for m in group.members.values()
        )
    return JoinReply(
        ticket=ticket,
        member_id=member.member_id,
        generation_id=group.generation_id,
        protocol_type=group.protocol_type,
        protocol_name=group.protocol_name,
        leader_id=leader,
        skip_assignment=skip_assignment,
        members=members,
    )


def shared_protocols(members: dict[str, Member]) -> set[str]:
    return set.intersection(*({name for name, _ in m.protocols} for m in members.values()))


def select_protocol(members: dict[str, Member]) -> str | None:
    """The shared protocol with most votes; each member votes for its first shared one. None without any shared."""
    shared = shared_protocols(members)
    votes = Counter(next((name for name, _ in m.protocols if name in shared), None) for m in members.values())
    return votes.most_common(1)[0][0]
