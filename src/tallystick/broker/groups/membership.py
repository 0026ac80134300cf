"""The classic group protocol of one group: joining, syncing, heartbeats, leaving, static members (KIP-345, KIP-394).

Owns: members, generation, leader and state of a group. Must not know: sockets, futures, clocks, committed offsets.

Time, fresh ids and tickets (the request that waits) come in as arguments; answers collect in ``replies``, from where
the driver takes them. A group is persisted through ``append`` when it becomes stable or empty, before anybody is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from tallystick.broker.groups.members import (
    GroupStatus,
    Join,
    JoinedMember,
    JoinReply,
    Member,
    Reply,
    Sync,
    SyncReply,
)
from tallystick.broker.groups.records import GroupGeneration
from tallystick.errors import IllegalTransition
from tallystick.wire.errors import ErrorCode

S = GroupStatus

MAX_MEMBERS: Final = 2_000
"""``group.max.size``: Apache Kafka has no bound by default; here, it is more than one machine's broker serves."""

MAX_MEMBERS_BYTES: Final = 4 * 1024 * 1024
"""What the members of a group may say of themselves, all together. It stays in memory, and becomes one record."""

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


class Membership:
    """One group's members. Mutable, and owned by the coordinator's task alone."""

    def __init__(
        self, group_id: str, append: Callable[[GroupGeneration], None], *, initial_rebalance_delay_ms: int = 0
    ) -> None:
        self.group_id = group_id
        self.status = S.EMPTY
        self.generation_id = 0
        self.protocol_type: str | None = None
        self.protocol_name: str | None = None
        self.leader_id: str | None = None
        self.members: dict[str, Member] = {}
        self.persisted: GroupGeneration | None = None
        self.replies: list[Reply] = []
        self._append = append
        self._initial_rebalance_delay_ms = initial_rebalance_delay_ms
        self._static_ids: dict[str, str] = {}
        self._invited: dict[str, int] = {}
        """Ids given out with MEMBER_ID_REQUIRED that have not come back yet, and until when they may."""
        self._unsynced: set[str] = set()
        self._join_not_before_ms = 0
        self._join_deadline_ms = 0
        self._sync_deadline_ms = 0

    # --- JoinGroup ----------------------------------------------------------------------------------------------------

    def join(self, request: Join, ticket: int, now_ms: int) -> None:
        """JoinGroup. The answer may come at once or when the rebalance is through."""
        if not self._supports(request):
            self._refuse_join(request, ticket, ErrorCode.inconsistent_group_protocol)
        elif self._metadata_bytes_without(request.member_id) + _metadata_bytes(request) > MAX_MEMBERS_BYTES:
            self._refuse_join(request, ticket, ErrorCode.group_max_size_reached)
        elif request.member_id == "":
            self._join_newcomer(request, ticket, now_ms)
        elif request.member_id in self._invited and request.group_instance_id is None:
            del self._invited[request.member_id]
            self._add(request.member_id, request, ticket, now_ms)
        else:
            self._join_again(request, ticket, now_ms)

    def _supports(self, request: Join) -> bool:
        if not request.protocol_type or not request.protocols:
            return False
        if not self.members:
            return True
        shared = _shared_protocols(self.members)
        return request.protocol_type == self.protocol_type and any(name in shared for name, _ in request.protocols)

    def _metadata_bytes_without(self, member_id: str) -> int:
        return sum(_metadata_bytes(member) for member in self.members.values() if member.member_id != member_id)

    def _join_newcomer(self, request: Join, ticket: int, now_ms: int) -> None:
        if len(self.members) + len(self._invited) >= MAX_MEMBERS and request.group_instance_id not in self._static_ids:
            self._refuse_join(request, ticket, ErrorCode.group_max_size_reached)
            return
        if request.group_instance_id is not None:
            old_member_id = self._static_ids.get(request.group_instance_id)
            if old_member_id is None:
                self._add(request.fresh_member_id, request, ticket, now_ms)
            else:
                self._replace_static(old_member_id, request, ticket, now_ms)
        elif request.requires_known_member_id:
            self._invited[request.fresh_member_id] = now_ms + request.session_timeout_ms
            self._refuse_join(request, ticket, ErrorCode.member_id_required, member_id=request.fresh_member_id)
        else:
            self._add(request.fresh_member_id, request, ticket, now_ms)

    def _join_again(self, request: Join, ticket: int, now_ms: int) -> None:
        error = self.check_member(request.member_id, request.group_instance_id)
        if error is not ErrorCode.none:
            self._refuse_join(request, ticket, error)
            return
        member = self.members[request.member_id]
        unchanged = member.protocols == request.protocols
        settled = (self.status is S.STABLE and member.member_id != self.leader_id and unchanged) or (
            self.status is S.COMPLETING_REBALANCE and unchanged
        )
        if settled:
            # Its answer was lost, or it rejoins for nothing: the present generation stands.
            self._touch(member, now_ms)
            self.replies.append(self._join_reply(member, ticket))
            return
        self._take_request(member, request, ticket)
        self._rebalance(now_ms)

    def _add(self, member_id: str, request: Join, ticket: int, now_ms: int) -> None:
        member = _member(member_id, request)
        if not self.members:
            self.protocol_type = request.protocol_type
        self.members[member_id] = member
        if request.group_instance_id is not None:
            self._static_ids[request.group_instance_id] = member_id
        if self.leader_id is None:
            self.leader_id = member_id
        member.join_ticket = ticket
        self._touch(member, now_ms)
        self._rebalance(now_ms)

    def _replace_static(self, old_member_id: str, request: Join, ticket: int, now_ms: int) -> None:
        """A static member came back under its instance id: it takes the old one's place, and the old one is fenced.

        In a stable group whose protocol stays the same it also takes the assignment, without a rebalance (KIP-345).
        """
        old = self.members[old_member_id]
        new = _member(request.fresh_member_id, request)
        new.assignment = old.assignment
        # Kept in its place, so that the order of members, which assignors sort by, does not change.
        members = {m.member_id: m for m in (new if m is old else m for m in self.members.values())}
        was_leader = self.leader_id == old_member_id
        leader_id = new.member_id if was_leader else self.leader_id
        keeps_assignment = self.status is S.STABLE and _select_protocol(members) == self.protocol_name
        if keeps_assignment:
            self._persist(members, leader_id)
        self._fence(old)
        self.members = members
        self.leader_id = leader_id
        self._static_ids[str(request.group_instance_id)] = new.member_id
        if old_member_id in self._unsynced:
            self._unsynced.remove(old_member_id)
            self._unsynced.add(new.member_id)
        self._touch(new, now_ms)
        if not keeps_assignment:
            new.join_ticket = ticket
            self._rebalance(now_ms)
        elif request.supports_skipping_assignment:
            self.replies.append(self._join_reply(new, ticket, skip_assignment=was_leader))
        else:
            # Before version 9 a returning leader is told that somebody else leads, so that it does not assign anew.
            leader = old_member_id if was_leader else str(leader_id)
            self.replies.append(self._join_reply(new, ticket, leader_id=leader))

    def _fence(self, member: Member) -> None:
        if member.join_ticket is not None:
            self.replies.append(JoinReply(ticket=member.join_ticket, error=ErrorCode.fenced_instance_id))
        if member.sync_ticket is not None:
            self.replies.append(SyncReply(ticket=member.sync_ticket, error=ErrorCode.fenced_instance_id))

    def _take_request(self, member: Member, request: Join, ticket: int) -> None:
        if member.join_ticket is not None:
            # The member gave up waiting and asks again over another connection; nobody reads the first answer.
            self.replies.append(JoinReply(ticket=member.join_ticket, error=ErrorCode.rebalance_in_progress))
        member.protocols = request.protocols
        member.client_id = request.client_id
        member.client_host = request.client_host
        member.session_timeout_ms = request.session_timeout_ms
        member.rebalance_timeout_ms = request.rebalance_timeout_ms
        member.join_ticket = ticket

    def _refuse_join(self, request: Join, ticket: int, error: ErrorCode, *, member_id: str | None = None) -> None:
        self.replies.append(
            JoinReply(ticket=ticket, error=error, member_id=request.member_id if member_id is None else member_id)
        )

    def _join_reply(
        self, member: Member, ticket: int, *, leader_id: str | None = None, skip_assignment: bool = False
    ) -> JoinReply:
        leader = str(self.leader_id) if leader_id is None else leader_id
        members: tuple[JoinedMember, ...] = ()
        if leader == member.member_id:
            members = tuple(
                JoinedMember(
                    member_id=m.member_id,
                    group_instance_id=m.group_instance_id,
                    metadata=m.metadata(self.protocol_name),
                )
                for m in self.members.values()
            )
        return JoinReply(
            ticket=ticket,
            member_id=member.member_id,
            generation_id=self.generation_id,
            protocol_type=self.protocol_type,
            protocol_name=self.protocol_name,
            leader_id=leader,
            skip_assignment=skip_assignment,
            members=members,
        )

    # --- rebalancing --------------------------------------------------------------------------------------------------

    def _rebalance(self, now_ms: int) -> None:
        """Begin a rebalance, unless one is being prepared already; complete it if everybody is there."""
        if self.status is not S.PREPARING_REBALANCE:
            for member in self.members.values():
                self._answer_sync(member, now_ms, error=ErrorCode.rebalance_in_progress)
            self._join_not_before_ms = now_ms
            if self.status is S.EMPTY:
                self._join_not_before_ms += self._initial_rebalance_delay_ms
            self._unsynced.clear()
            self._change(S.PREPARING_REBALANCE)
            self._join_deadline_ms = now_ms + self._rebalance_timeout_ms()
        self._complete_join_if_all_joined(now_ms)

    def _rebalance_timeout_ms(self) -> int:
        return max((m.rebalance_timeout_ms for m in self.members.values()), default=0)

    def _complete_join_if_all_joined(self, now_ms: int) -> None:
        if (
            self.status is S.PREPARING_REBALANCE
            and not self._invited
            and now_ms >= self._join_not_before_ms
            and all(m.join_ticket is not None for m in self.members.values())
        ):
            self._complete_join(now_ms)

    def _complete_join(self, now_ms: int) -> None:
        """Whoever joined makes the next generation. Static members keep their place until their session ends."""
        for member in list(self.members.values()):
            if member.join_ticket is None and member.group_instance_id is None:
                self._forget(member)
        joined = [m for m in self.members.values() if m.join_ticket is not None]
        if self.members and not joined:
            self._join_deadline_ms = now_ms + self._rebalance_timeout_ms()
            return
        if joined and self.leader_id not in {m.member_id for m in joined}:
            self.leader_id = joined[0].member_id
        self.generation_id += 1
        if not joined:
            self.leader_id = self.protocol_name = None
            self._change(S.EMPTY)
            self._persist(self.members, None)
            return
        self.protocol_name = _select_protocol(self.members)
        self._change(S.COMPLETING_REBALANCE)
        self._sync_deadline_ms = now_ms + self._rebalance_timeout_ms()
        self._unsynced = {m.member_id for m in joined}
        for member in joined:
            ticket, member.join_ticket = member.join_ticket, None
            if ticket is not None:
                self.replies.append(self._join_reply(member, ticket))
            self._touch(member, now_ms)

    # --- SyncGroup ----------------------------------------------------------------------------------------------------

    def sync(self, request: Sync, ticket: int, now_ms: int) -> None:
        """SyncGroup. Followers wait for the leader. ``OSError``: nothing happened, the leader may sync again."""
        error = self._check_sync(request)
        if error is not ErrorCode.none:
            self.replies.append(SyncReply(ticket=ticket, error=error))
            return
        member = self.members[request.member_id]
        if self.status is S.COMPLETING_REBALANCE and member.member_id == self.leader_id:
            self._assign(dict(request.assignments))
        self._unsynced.discard(member.member_id)
        if member.sync_ticket is not None:
            self.replies.append(SyncReply(ticket=member.sync_ticket, error=ErrorCode.rebalance_in_progress))
        member.sync_ticket = ticket
        if self.status is S.STABLE:
            for waiting in self.members.values():
                self._answer_sync(waiting, now_ms, error=ErrorCode.none)

    def _check_sync(self, request: Sync) -> ErrorCode:
        error = self.check_member(request.member_id, request.group_instance_id)
        if error is not ErrorCode.none:
            return error
        if request.generation_id != self.generation_id:
            return ErrorCode.illegal_generation
        if request.protocol_type not in {None, self.protocol_type} or request.protocol_name not in {
            None,
            self.protocol_name,
        }:
            return ErrorCode.inconsistent_group_protocol
        if self.status is S.PREPARING_REBALANCE:
            return ErrorCode.rebalance_in_progress
        return ErrorCode.none

    def _assign(self, assignments: dict[str, bytes]) -> None:
        before = {m.member_id: m.assignment for m in self.members.values()}
        for member in self.members.values():
            member.assignment = assignments.get(member.member_id, b"")
        try:
            self._persist(self.members, self.leader_id)
        except OSError:
            for member in self.members.values():
                member.assignment = before[member.member_id]
            raise
        self._change(S.STABLE)

    def _answer_sync(self, member: Member, now_ms: int, *, error: ErrorCode) -> None:
        if member.sync_ticket is None:
            return
        ticket, member.sync_ticket = member.sync_ticket, None
        self._touch(member, now_ms)
        if error is not ErrorCode.none:
            self.replies.append(SyncReply(ticket=ticket, error=error))
            return
        self.replies.append(
            SyncReply(
                ticket=ticket,
                protocol_type=self.protocol_type,
                protocol_name=self.protocol_name,
                assignment=member.assignment,
            )
        )

    # --- staying and leaving ------------------------------------------------------------------------------------------

    def heartbeat(self, member_id: str, group_instance_id: str | None, generation_id: int, now_ms: int) -> ErrorCode:
        """Heartbeat."""
        error = self.check_member(member_id, group_instance_id)
        if error is not ErrorCode.none:
            return error
        if generation_id != self.generation_id:
            return ErrorCode.illegal_generation
        self._touch(self.members[member_id], now_ms)
        return ErrorCode.rebalance_in_progress if self.status is S.PREPARING_REBALANCE else ErrorCode.none

    def leave(self, member_id: str, group_instance_id: str | None, now_ms: int) -> ErrorCode:
        """LeaveGroup for one member; a static one may be named by its instance id alone."""
        if self._invited.pop(member_id, None) is not None:
            self._complete_join_if_all_joined(now_ms)
            return ErrorCode.none
        if group_instance_id is not None and member_id == "":
            member_id = self._static_ids.get(group_instance_id, "")
        error = self.check_member(member_id, group_instance_id)
        if error is ErrorCode.none:
            self._remove(self.members[member_id], now_ms)
        return error

    def _remove(self, member: Member, now_ms: int) -> None:
        self._forget(member)
        self._rebalance(now_ms)

    def _forget(self, member: Member) -> None:
        del self.members[member.member_id]
        self._unsynced.discard(member.member_id)
        if member.group_instance_id is not None:
            del self._static_ids[member.group_instance_id]
        if self.leader_id == member.member_id:
            self.leader_id = next(iter(self.members), None)
        if member.join_ticket is not None:
            self.replies.append(JoinReply(ticket=member.join_ticket, error=ErrorCode.unknown_member_id))
        if member.sync_ticket is not None:
            self.replies.append(SyncReply(ticket=member.sync_ticket, error=ErrorCode.unknown_member_id))

    def _touch(self, member: Member, now_ms: int) -> None:
        member.deadline_ms = now_ms + member.session_timeout_ms

    # --- checks -------------------------------------------------------------------------------------------------------

    def check_member(self, member_id: str, group_instance_id: str | None) -> ErrorCode:
        """Whether this is a member, and the present one of its instance id."""
        if group_instance_id is not None:
            current = self._static_ids.get(group_instance_id)
            if current is None:
                return ErrorCode.unknown_member_id
            return ErrorCode.none if current == member_id else ErrorCode.fenced_instance_id
        return ErrorCode.none if member_id in self.members else ErrorCode.unknown_member_id

    def check_commit(
        self,
        member_id: str,
        group_instance_id: str | None,
        generation_id: int,
        now_ms: int,
        *,
        transactional: bool,
    ) -> ErrorCode:
        """Whether this caller may commit offsets (KIP-447). A member's commit also counts as its heartbeat."""
        if generation_id < 0 and self.status is S.EMPTY:
            return ErrorCode.none
        if generation_id >= 0 or member_id != "" or group_instance_id is not None:
            error = self.check_member(member_id, group_instance_id)
            if error is not ErrorCode.none:
                return error
            if generation_id != self.generation_id:
                return ErrorCode.illegal_generation
            self._touch(self.members[member_id], now_ms)
        elif not transactional:
            return ErrorCode.unknown_member_id
        if self.status is S.COMPLETING_REBALANCE and not transactional:
            return ErrorCode.rebalance_in_progress
        return ErrorCode.none

    # --- time ---------------------------------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> None:
        """Expire invitations, sessions, the joining phase and the syncing phase."""
        expired = [member_id for member_id, until_ms in self._invited.items() if now_ms >= until_ms]
        for member_id in expired:
            del self._invited[member_id]
        for member in list(self.members.values()):
            waits = member.join_ticket is not None or member.sync_ticket is not None
            if not waits and now_ms >= member.deadline_ms and member.member_id in self.members:
                self._remove(member, now_ms)
        if self.status is S.PREPARING_REBALANCE:
            if now_ms >= self._join_deadline_ms:
                self._complete_join(now_ms)
            else:
                self._complete_join_if_all_joined(now_ms)
        elif self._unsynced and now_ms >= self._sync_deadline_ms:
            for member_id in self._unsynced & self.members.keys():
                self._forget(self.members[member_id])
            self._rebalance(now_ms)

    # --- persistence --------------------------------------------------------------------------------------------------

    def _persist(self, members: dict[str, Member], leader_id: str | None) -> None:
        record = GroupGeneration(
            group_id=self.group_id,
            generation_id=self.generation_id,
            protocol_type=self.protocol_type,
            protocol_name=self.protocol_name,
            leader_id=leader_id,
            members=tuple(m.persisted() for m in members.values()),
        )
        self._append(record)
        self.persisted = record

    def replay(self, record: GroupGeneration) -> None:
        """The group as it was last stable or empty."""
        self.persisted = record
        self.generation_id = record.generation_id
        self.protocol_type = record.protocol_type
        self.protocol_name = record.protocol_name
        self.leader_id = record.leader_id
        self.members = {m.member_id: Member.from_persisted(m) for m in record.members}
        self._static_ids = {m.group_instance_id: m.member_id for m in record.members if m.group_instance_id is not None}
        self.status = S.STABLE if self.members else S.EMPTY

    def start_sessions(self, now_ms: int) -> None:
        """After recovery: every member has a whole session timeout to show itself."""
        for member in self.members.values():
            self._touch(member, now_ms)

    def close(self) -> None:
        """Delete the group; only an empty one can be."""
        self._change(S.DEAD)

    def _change(self, status: GroupStatus) -> None:
        if (self.status, status) not in TRANSITIONS:
            raise IllegalTransition("group", self.status.value, f"change to {status.value}")
        self.status = status


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


def _metadata_bytes(member: Member | Join) -> int:
    protocols = sum(len(name) + len(metadata) for name, metadata in member.protocols)
    return protocols + len(member.client_id) + len(member.group_instance_id or "")


def _shared_protocols(members: dict[str, Member]) -> set[str]:
    return set.intersection(*({name for name, _ in m.protocols} for m in members.values()))


def _select_protocol(members: dict[str, Member]) -> str | None:
    """The shared protocol with most votes; each member votes for its first shared one. None without any shared."""
    shared = _shared_protocols(members)
    votes = Counter(next((name for name, _ in m.protocols if name in shared), None) for m in members.values())
    return votes.most_common(1)[0][0]
