"""Drives the groups of the classic protocol: requests wait, groups decide, answers go out.

Owns: the requests that wait for a rebalance. Must not know: the protocol's encoding, committed offsets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tallystick.broker.groups.classic.group import ClassicGroup
from tallystick.broker.groups.classic.joining import join
from tallystick.broker.groups.classic.members import Join, JoinReply, Reply, Sync, SyncReply
from tallystick.broker.groups.classic.rebalance import tick
from tallystick.broker.groups.classic.staying import heartbeat, leave
from tallystick.broker.groups.classic.syncing import sync
from tallystick.broker.groups.consumer.group import ConsumerGroup
from tallystick.broker.groups.settings import GroupSettings
from tallystick.broker.groups.table import GroupTable, not_written
from tallystick.clock import Clock
from tallystick.wire.errors import ErrorCode


class ClassicGroups:
    """JoinGroup, SyncGroup, Heartbeat and LeaveGroup."""

    def __init__(self, table: GroupTable, clock: Clock, settings: GroupSettings) -> None:
        self._table = table
        self._clock = clock
        self._settings = settings
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._next_ticket = 0

    def _find(self, group_id: str) -> ClassicGroup | None:
        group = self._table.find(group_id)
        return group.members if group is not None and isinstance(group.members, ClassicGroup) else None

    async def join(self, group_id: str, request: Join) -> JoinReply:
        """JoinGroup: returns when the next generation stands, or with an error."""
        error = self._check_join(group_id, request)
        if error is not ErrorCode.none:
            return JoinReply(ticket=-1, error=error, member_id=request.member_id)
        try:
            group = self._table.make_classic(self._table.find_or_make(group_id))
        except OSError as failure:
            return JoinReply(ticket=-1, error=not_written(failure), member_id=request.member_id)
        ticket, future = self._park()
        try:
            join(group, request, ticket, self._clock.monotonic_ms())
        except OSError as failure:
            self._waiting.pop(ticket, None)
            return JoinReply(ticket=ticket, error=not_written(failure), member_id=request.member_id)
        finally:
            self._answer(group)
        reply = await self._reply(ticket, future)
        return reply if isinstance(reply, JoinReply) else JoinReply(ticket=ticket, error=reply.error)

    def _check_join(self, group_id: str, request: Join) -> ErrorCode:
        error = self._table.check_id(group_id)
        settings = self._settings
        if (
            not settings.group_min_session_timeout_ms
            <= request.session_timeout_ms
            <= settings.group_max_session_timeout_ms
        ):
            error = ErrorCode.invalid_session_timeout
        if error is not ErrorCode.none:
            return error
        group = self._table.find(group_id)
        if group is not None and isinstance(group.members, ConsumerGroup) and not group.members.is_empty:
            return ErrorCode.inconsistent_group_protocol
        return ErrorCode.unknown_member_id if request.member_id != "" and self._find(group_id) is None else error

    async def sync(self, group_id: str, request: Sync) -> SyncReply:
        """SyncGroup: returns when the leader has assigned, or with an error."""
        error = self._table.check_id(group_id)
        group = self._find(group_id)
        if error is not ErrorCode.none or group is None:
            return SyncReply(ticket=-1, error=error if error is not ErrorCode.none else ErrorCode.unknown_member_id)
        ticket, future = self._park()
        try:
            sync(group, request, ticket, self._clock.monotonic_ms())
        except OSError as failure:
            self._waiting.pop(ticket, None)
            return SyncReply(ticket=ticket, error=not_written(failure))
        finally:
            self._answer(group)
        reply = await self._reply(ticket, future)
        return reply if isinstance(reply, SyncReply) else SyncReply(ticket=ticket, error=reply.error)

    def heartbeat(
        self, group_id: str, *, member_id: str, group_instance_id: str | None, generation_id: int
    ) -> ErrorCode:
        """Heartbeat."""
        error = self._table.check_id(group_id)
        if error is not ErrorCode.none:
            return error
        group = self._find(group_id)
        if group is None:
            return ErrorCode.unknown_member_id
        return heartbeat(group, member_id, group_instance_id, generation_id, self._clock.monotonic_ms())

    def leave(self, group_id: str, members: Sequence[tuple[str, str | None]]) -> tuple[ErrorCode, list[ErrorCode]]:
        """LeaveGroup for (member id, instance id) each: the error of the whole, and one for each member."""
        error = self._table.check_id(group_id)
        if error is not ErrorCode.none:
            return error, []
        group = self._find(group_id)
        if group is None:
            return ErrorCode.none, [ErrorCode.unknown_member_id for _ in members]
        errors = []
        try:
            for member_id, group_instance_id in members:
                errors.append(leave(group, member_id, group_instance_id, self._clock.monotonic_ms()))
        except OSError as failure:
            return not_written(failure), []
        finally:
            self._answer(group)
        return ErrorCode.none, errors

    def _park(self) -> tuple[int, asyncio.Future[Reply]]:
        self._next_ticket += 1
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[self._next_ticket] = future
        return self._next_ticket, future

    async def _reply(self, ticket: int, future: asyncio.Future[Reply]) -> Reply:
        try:
            return await future
        finally:
            self._waiting.pop(ticket, None)

    def _answer(self, group: ClassicGroup) -> None:
        replies, group.replies = group.replies, []
        for reply in replies:
            future = self._waiting.pop(reply.ticket, None)
            if future is not None and not future.done():
                future.set_result(reply)

    def start_sessions(self) -> None:
        """After recovery: the time that the broker was down is not counted against the members."""
        now_ms = self._clock.monotonic_ms()
        for group in self._table:
            if isinstance(group.members, ClassicGroup):
                group.members.start_sessions(now_ms)

    def tick(self) -> None:
        """Expire sessions and rebalance phases."""
        now_ms = self._clock.monotonic_ms()
        for group in self._table:
            if not isinstance(group.members, ClassicGroup):
                continue
            try:
                tick(group.members, now_ms)
            except OSError as failure:
                not_written(failure)
            finally:
                self._answer(group.members)
