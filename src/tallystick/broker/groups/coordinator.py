"""Drives the groups: append, apply, answer.

Owns: all groups (membership and offsets) and the requests that wait for a rebalance. Must not know: the protocol's
encoding, transactions beyond a producer id.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog

from tallystick.broker.groups.members import GroupStatus, Join, JoinReply, Reply, Sync, SyncReply
from tallystick.broker.groups.membership import Membership
from tallystick.broker.groups.offsets import GroupOffsets, TopicPartition
from tallystick.broker.groups.records import (
    CommittedOffset,
    GroupDeleted,
    GroupGeneration,
    OffsetsCommitted,
    OffsetsDeleted,
    OffsetsPending,
    PendingOffsetsEnded,
)
from tallystick.broker.ports import Journal, JournalRecord, PartitionWriter
from tallystick.clock import Clock
from tallystick.wire.errors import ErrorCode

log = structlog.get_logger(__name__)

MIN_SESSION_TIMEOUT_MS: Final = 6_000
MAX_SESSION_TIMEOUT_MS: Final = 1_800_000
"""Apache Kafka's defaults of ``group.min.session.timeout.ms`` and ``group.max.session.timeout.ms``."""

INITIAL_REBALANCE_DELAY_MS: Final = 0
"""``group.initial.rebalance.delay.ms``: Apache Kafka's default is 3000; here a first member starts at once."""

MAX_METADATA_BYTES: Final = 4096
"""Apache Kafka's default of ``offset.metadata.max.bytes``."""

MAX_GROUPS: Final = 100_000
"""More groups than one machine's clients ever are: past it, something makes up group ids."""


@dataclass(slots=True)
class Group:
    """A group: who is in it, and how far it has read."""

    membership: Membership
    offsets: GroupOffsets


@dataclass(frozen=True, slots=True, kw_only=True)
class Committer:
    """Who commits offsets, as it says itself; generation -1 and an empty id mean: not a member."""

    member_id: str = ""
    group_instance_id: str | None = None
    generation_id: int = -1


@dataclass(frozen=True, slots=True)
class FetchedOffset:
    """One partition's answer to OffsetFetch; offset -1 means none."""

    topic: str
    partition: int
    error: ErrorCode = ErrorCode.none
    offset: int = -1
    leader_epoch: int = -1
    metadata: str = ""


class GroupCoordinator:
    """All groups of the node."""

    def __init__(
        self,
        journal: Journal,
        partitions: PartitionWriter,
        clock: Clock,
        *,
        initial_rebalance_delay_ms: int = INITIAL_REBALANCE_DELAY_MS,
    ) -> None:
        self._journal = journal
        self._partitions = partitions
        self._clock = clock
        self._initial_rebalance_delay_ms = initial_rebalance_delay_ms
        self._groups: dict[str, Group] = {}
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._next_ticket = 0

    # --- members ------------------------------------------------------------------------------------------------------

    async def join(self, group_id: str, request: Join) -> JoinReply:
        """JoinGroup: returns when the next generation stands, or with an error."""
        error = self._check_group_id(group_id)
        if not MIN_SESSION_TIMEOUT_MS <= request.session_timeout_ms <= MAX_SESSION_TIMEOUT_MS:
            error = ErrorCode.invalid_session_timeout
        group = self._groups.get(group_id)
        if error is ErrorCode.none and group is None and request.member_id != "":
            error = ErrorCode.unknown_member_id
        if error is not ErrorCode.none:
            return JoinReply(ticket=-1, error=error, member_id=request.member_id)
        group = self._group(group_id)
        ticket, future = self._park()
        try:
            group.membership.join(request, ticket, self._clock.monotonic_ms())
        except OSError as failure:
            self._waiting.pop(ticket, None)
            return JoinReply(ticket=ticket, error=_not_written(failure), member_id=request.member_id)
        finally:
            self._answer(group)
        reply = await self._reply(ticket, future)
        return reply if isinstance(reply, JoinReply) else JoinReply(ticket=ticket, error=reply.error)

    async def sync(self, group_id: str, request: Sync) -> SyncReply:
        """SyncGroup: returns when the leader has assigned, or with an error."""
        error = self._check_group_id(group_id)
        group = self._groups.get(group_id)
        if error is not ErrorCode.none or group is None:
            return SyncReply(ticket=-1, error=error if error is not ErrorCode.none else ErrorCode.unknown_member_id)
        ticket, future = self._park()
        try:
            group.membership.sync(request, ticket, self._clock.monotonic_ms())
        except OSError as failure:
            self._waiting.pop(ticket, None)
            return SyncReply(ticket=ticket, error=_not_written(failure))
        finally:
            self._answer(group)
        reply = await self._reply(ticket, future)
        return reply if isinstance(reply, SyncReply) else SyncReply(ticket=ticket, error=reply.error)

    def heartbeat(
        self, group_id: str, *, member_id: str, group_instance_id: str | None, generation_id: int
    ) -> ErrorCode:
        """Heartbeat."""
        error = self._check_group_id(group_id)
        if error is not ErrorCode.none:
            return error
        group = self._groups.get(group_id)
        if group is None:
            return ErrorCode.unknown_member_id
        return group.membership.heartbeat(member_id, group_instance_id, generation_id, self._clock.monotonic_ms())

    def leave(self, group_id: str, members: Sequence[tuple[str, str | None]]) -> tuple[ErrorCode, list[ErrorCode]]:
        """LeaveGroup for (member id, instance id) each: the error of the whole, and one for each member."""
        error = self._check_group_id(group_id)
        if error is not ErrorCode.none:
            return error, []
        group = self._groups.get(group_id)
        if group is None:
            return ErrorCode.none, [ErrorCode.unknown_member_id for _ in members]
        errors = []
        try:
            for member_id, group_instance_id in members:
                errors.append(group.membership.leave(member_id, group_instance_id, self._clock.monotonic_ms()))
        except OSError as failure:
            return _not_written(failure), []
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

    def _answer(self, group: Group) -> None:
        replies, group.membership.replies = group.membership.replies, []
        for reply in replies:
            future = self._waiting.pop(reply.ticket, None)
            if future is not None and not future.done():
                future.set_result(reply)

    # --- offsets ------------------------------------------------------------------------------------------------------

    def commit_offsets(
        self, group_id: str, committer: Committer, offsets: Sequence[CommittedOffset]
    ) -> dict[TopicPartition, ErrorCode]:
        """OffsetCommit: one error for each partition."""
        return self._commit(group_id, committer, offsets, producer=None)

    def commit_offsets_in_transaction(
        self,
        group_id: str,
        committer: Committer,
        offsets: Sequence[CommittedOffset],
        *,
        producer_id: int,
        producer_epoch: int,
    ) -> dict[TopicPartition, ErrorCode]:
        """TxnOffsetCommit. The caller has checked that the producer's open transaction has this group."""
        return self._commit(group_id, committer, offsets, producer=(producer_id, producer_epoch))

    def _commit(
        self,
        group_id: str,
        committer: Committer,
        offsets: Sequence[CommittedOffset],
        *,
        producer: tuple[int, int] | None,
    ) -> dict[TopicPartition, ErrorCode]:
        error = self._check_committer(group_id, committer, transactional=producer is not None)
        if error is not ErrorCode.none:
            return {(o.topic, o.partition): error for o in offsets}
        errors = {(o.topic, o.partition): self._check_offset(o) for o in offsets}
        now_ms = self._clock.now_ms()
        accepted = [
            msgspec.structs.replace(o, committed_ms=now_ms)
            for o in offsets
            if errors[o.topic, o.partition] is ErrorCode.none
        ]
        if not accepted:
            return errors
        state = self._group(group_id).offsets
        record = state.commit(accepted) if producer is None else state.commit_pending(*producer, accepted)
        try:
            self._write(record)
        except OSError as failure:
            failed = _not_written(failure, too_large=ErrorCode.invalid_commit_offset_size)
            errors.update({(o.topic, o.partition): failed for o in accepted})
        return errors

    def _check_committer(self, group_id: str, committer: Committer, *, transactional: bool) -> ErrorCode:
        error = self._check_group_id(group_id)
        if error is not ErrorCode.none:
            return error
        group = self._groups.get(group_id)
        if group is None:
            return ErrorCode.none if committer.generation_id < 0 else ErrorCode.illegal_generation
        return group.membership.check_commit(
            committer.member_id,
            committer.group_instance_id,
            committer.generation_id,
            self._clock.monotonic_ms(),
            transactional=transactional,
        )

    def _check_offset(self, offset: CommittedOffset) -> ErrorCode:
        if not self._partitions.exists(offset.topic, offset.partition):
            return ErrorCode.unknown_topic_or_partition
        if len(offset.metadata.encode()) > MAX_METADATA_BYTES:
            return ErrorCode.offset_metadata_too_large
        return ErrorCode.none

    def fetch_offsets(
        self, group_id: str, partitions: Sequence[TopicPartition] | None, *, require_stable: bool
    ) -> list[FetchedOffset]:
        """OffsetFetch; ``partitions`` None: all that have an offset.

        With ``require_stable`` a partition whose offset an open transaction may still change answers
        UNSTABLE_OFFSET_COMMIT (KIP-447).
        """
        group = self._groups.get(group_id)
        if group is None:
            return [FetchedOffset(topic, partition) for topic, partition in partitions or ()]
        offsets = group.offsets
        if partitions is None:
            partitions = list(offsets.committed)
        fetched = []
        for topic, partition in partitions:
            committed = offsets.committed.get((topic, partition))
            if require_stable and not offsets.is_stable((topic, partition)):
                fetched.append(FetchedOffset(topic, partition, ErrorCode.unstable_offset_commit))
            elif committed is None:
                fetched.append(FetchedOffset(topic, partition))
            else:
                fetched.append(
                    FetchedOffset(
                        topic,
                        partition,
                        ErrorCode.none,
                        committed.offset,
                        committed.leader_epoch,
                        committed.metadata,
                    )
                )
        return fetched

    def delete_offsets(
        self, group_id: str, partitions: Sequence[TopicPartition]
    ) -> tuple[ErrorCode, dict[TopicPartition, ErrorCode]]:
        """OffsetDelete (KIP-496). Only of a group without members: which topics members read is not looked at."""
        group = self._groups.get(group_id)
        if group is None:
            return ErrorCode.group_id_not_found, {}
        if group.membership.status is not GroupStatus.EMPTY:
            return ErrorCode.non_empty_group, {}
        known = tuple(p for p in partitions if p in group.offsets.committed)
        try:
            if known:
                self._write(OffsetsDeleted(group_id=group_id, partitions=known))
        except OSError as failure:
            return _not_written(failure), {}
        return ErrorCode.none, dict.fromkeys(partitions, ErrorCode.none)

    def forget_topic(self, topic: str) -> None:
        """The topic was deleted: so are its committed offsets, lest a topic of the same name inherits them."""
        for group in list(self._groups.values()):
            gone = tuple(p for p in group.offsets.committed if p[0] == topic)
            if gone:
                self._write(OffsetsDeleted(group_id=group.membership.group_id, partitions=gone))

    def complete_transaction(self, group_id: str, producer_id: int, *, commit: bool) -> None:
        """Make the producer's pending offsets visible, or drop them. Repeating it does nothing. ``OSError``: undone."""
        group = self._groups.get(group_id)
        record = None if group is None else group.offsets.end_pending(producer_id, commit=commit)
        if record is not None:
            self._write(record)

    # --- looking and deleting -----------------------------------------------------------------------------------------

    def groups(self) -> tuple[Membership, ...]:
        """Every group's membership, to look at."""
        return tuple(group.membership for group in self._groups.values())

    def group(self, group_id: str) -> Membership | None:
        group = self._groups.get(group_id)
        return None if group is None else group.membership

    def delete(self, group_id: str) -> ErrorCode:
        """DeleteGroups for one group: without members, and without offsets under an open transaction (rule 22)."""
        group = self._groups.get(group_id)
        if group is None:
            return ErrorCode.group_id_not_found
        if group.membership.status is not GroupStatus.EMPTY or group.offsets.pending:
            return ErrorCode.non_empty_group
        try:
            self._write(GroupDeleted(group_id=group_id))
        except OSError as failure:
            return _not_written(failure)
        return ErrorCode.none

    def _check_group_id(self, group_id: str) -> ErrorCode:
        if not group_id:
            return ErrorCode.invalid_group_id
        if group_id not in self._groups and len(self._groups) >= MAX_GROUPS:
            log.error("too many groups", limit=MAX_GROUPS)
            return ErrorCode.coordinator_not_available
        return ErrorCode.none

    def _group(self, group_id: str) -> Group:
        group = self._groups.get(group_id)
        if group is None:
            membership = Membership(
                group_id, self._journal.append, initial_rebalance_delay_ms=self._initial_rebalance_delay_ms
            )
            group = self._groups[group_id] = Group(membership, GroupOffsets(group_id))
        return group

    # --- what the server asks -----------------------------------------------------------------------------------------

    def _write(self, record: JournalRecord) -> None:
        self._journal.append(record)
        self.replay(record)

    def replay(self, record: JournalRecord) -> None:
        """Apply a record; what it does live and in recovery is the same."""
        match record:
            case OffsetsCommitted() | OffsetsPending() | PendingOffsetsEnded() | OffsetsDeleted():
                self._group(record.group_id).offsets.apply(record)
            case GroupGeneration():
                self._group(record.group_id).membership.replay(record)
            case GroupDeleted():
                group = self._groups.pop(record.group_id, None)
                if group is not None and group.membership.status is GroupStatus.EMPTY:
                    group.membership.close()
            case _:
                pass  # the other coordinator's

    def snapshot(self) -> Iterable[JournalRecord]:
        """Records that give the present groups again; a rebalance under way is not among them, as in recovery."""
        for group in self._groups.values():
            if group.membership.persisted is not None:
                yield group.membership.persisted
            yield from group.offsets.snapshot()

    def finish_recovery(self) -> None:
        """Start the members' sessions anew: the time that the broker was down is not counted against them."""
        now_ms = self._clock.monotonic_ms()
        for group in self._groups.values():
            group.membership.start_sessions(now_ms)

    def tick(self, now_ms: int) -> None:  # noqa: ARG002 - sessions run on monotonic time, not on the wall clock
        """Expire sessions and rebalance phases."""
        monotonic_ms = self._clock.monotonic_ms()
        for group in list(self._groups.values()):
            try:
                group.membership.tick(monotonic_ms)
            except OSError as failure:
                _not_written(failure)
            finally:
                self._answer(group)


def _not_written(failure: OSError, *, too_large: ErrorCode = ErrorCode.unknown_server_error) -> ErrorCode:
    """The answer when the journal cannot be written: nothing unwritten was applied, and a full disk is retriable.

    A record that is too large will be so the next time; the code is what Apache Kafka says then.
    """
    if failure.errno == errno.EMSGSIZE:
        log.warning("coordinator record refused", reason=failure.strerror)
        return too_large
    log.error("coordinator record not written", error=str(failure))
    return ErrorCode.coordinator_not_available
