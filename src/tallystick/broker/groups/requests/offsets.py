"""Offsets of groups, as requests ask for them: committed, fetched, deleted, settled at a transaction's end.

Owns: who may commit what, and the answers. Must not know: the protocol's encoding, members beyond whether one may.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import msgspec

from tallystick.broker.groups.classic import staying as classic
from tallystick.broker.groups.consumer import offset_rules as consumer
from tallystick.broker.groups.consumer.group import ConsumerGroup
from tallystick.broker.groups.offsets import TopicPartition
from tallystick.broker.groups.records import CommittedOffset, OffsetsDeleted
from tallystick.broker.groups.settings import GroupSettings
from tallystick.broker.groups.table import GroupTable, not_written
from tallystick.broker.ports import TopicCatalog
from tallystick.clock import Clock
from tallystick.wire.errors import ErrorCode


@dataclass(frozen=True, slots=True, kw_only=True)
class Committer:
    """Who commits offsets, as it says itself; generation -1 and an empty id mean: not a member."""

    member_id: str = ""
    group_instance_id: str | None = None
    generation_id: int = -1
    """Of a classic group, or the member epoch of a consumer group."""
    speaks_member_epochs: bool = False
    """Whether the request is of a version that knows of them (OffsetCommit from 9 on)."""


@dataclass(frozen=True, slots=True)
class FetchedOffset:
    """One partition's answer to OffsetFetch; offset -1 means none."""

    topic: str
    partition: int
    error: ErrorCode = ErrorCode.none
    offset: int = -1
    leader_epoch: int = -1
    metadata: str = ""


class OffsetRequests:
    """OffsetCommit, TxnOffsetCommit, OffsetFetch, OffsetDelete."""

    def __init__(self, table: GroupTable, topics: TopicCatalog, clock: Clock, settings: GroupSettings) -> None:
        self._table = table
        self._topics = topics
        self._clock = clock
        self._settings = settings

    def commit(
        self, group_id: str, committer: Committer, offsets: Sequence[CommittedOffset]
    ) -> dict[TopicPartition, ErrorCode]:
        """OffsetCommit: one error for each partition."""
        return self._commit(group_id, committer, offsets, producer=None)

    def commit_in_transaction(
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
        error = self._check_committer(group_id, committer, offsets, transactional=producer is not None)
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
        state = self._table.find_or_make(group_id).offsets
        record = state.commit(accepted) if producer is None else state.commit_pending(*producer, accepted)
        try:
            self._table.write(record)
        except OSError as failure:
            failed = not_written(failure, too_large=ErrorCode.invalid_commit_offset_size)
            errors.update({(o.topic, o.partition): failed for o in accepted})
        return errors

    def _check_committer(
        self, group_id: str, committer: Committer, offsets: Sequence[CommittedOffset], *, transactional: bool
    ) -> ErrorCode:
        error = self._table.check_id(group_id)
        if error is not ErrorCode.none:
            return error
        group = self._table.find(group_id)
        if group is None:
            if committer.generation_id < 0:
                return ErrorCode.none
            return ErrorCode.group_id_not_found if committer.speaks_member_epochs else ErrorCode.illegal_generation
        if isinstance(group.members, ConsumerGroup):
            return self._check_consumer(group.members, committer, offsets, transactional=transactional)
        return classic.check_commit(
            group.members,
            committer.member_id,
            committer.group_instance_id,
            committer.generation_id,
            self._clock.monotonic_ms(),
            transactional=transactional,
        )

    def _check_consumer(
        self, group: ConsumerGroup, committer: Committer, offsets: Sequence[CommittedOffset], *, transactional: bool
    ) -> ErrorCode:
        anonymous = committer == Committer(speaks_member_epochs=committer.speaks_member_epochs)
        if transactional and anonymous:
            return ErrorCode.none
        shapes = ((self._topics.shape(o.topic), o.partition) for o in offsets)
        places = [(shape.topic_id, partition) for shape, partition in shapes if shape is not None]
        error = consumer.check_commit(group, committer.member_id, committer.generation_id, places)
        if transactional:
            return ErrorCode.illegal_generation if error is ErrorCode.stale_member_epoch else error
        if committer.member_id in group.members and not committer.speaks_member_epochs:
            return ErrorCode.unsupported_version
        return error

    def _check_offset(self, offset: CommittedOffset) -> ErrorCode:
        shape = self._topics.shape(offset.topic)
        if shape is None or not 0 <= offset.partition < shape.partition_count:
            return ErrorCode.unknown_topic_or_partition
        if len(offset.metadata.encode()) > self._settings.offset_metadata_max_bytes:
            return ErrorCode.offset_metadata_too_large
        return ErrorCode.none

    def check_fetch(self, group_id: str, member_id: str | None, member_epoch: int) -> ErrorCode:
        """OffsetFetch from version 9 on: a member of a consumer group fetches in its present epoch."""
        group = self._table.find(group_id)
        if group is None or not isinstance(group.members, ConsumerGroup):
            return ErrorCode.none
        return consumer.check_fetch(group.members, member_id, member_epoch)

    def fetch(
        self, group_id: str, partitions: Sequence[TopicPartition] | None, *, require_stable: bool
    ) -> list[FetchedOffset]:
        """OffsetFetch; ``partitions`` None: all that have an offset.

        With ``require_stable`` a partition whose offset an open transaction may still change answers
        UNSTABLE_OFFSET_COMMIT (KIP-447).
        """
        group = self._table.find(group_id)
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

    def delete(
        self, group_id: str, partitions: Sequence[TopicPartition]
    ) -> tuple[ErrorCode, dict[TopicPartition, ErrorCode]]:
        """OffsetDelete (KIP-496): of topics that no member subscribes to."""
        group = self._table.find(group_id)
        if group is None:
            return ErrorCode.group_id_not_found, {}
        error = group.members.check_offset_delete()
        if error is not ErrorCode.none:
            return error, {}
        read = group.members.topics_read()
        errors = {(topic, index): self._check_delete(topic, read) for topic, index in partitions}
        known = tuple(p for p, e in errors.items() if e is ErrorCode.none and p in group.offsets.committed)
        try:
            if known:
                self._table.write(OffsetsDeleted(group_id=group_id, partitions=known))
        except OSError as failure:
            return not_written(failure), {}
        return ErrorCode.none, errors

    def _check_delete(self, topic: str, read: Collection[str]) -> ErrorCode:
        if self._topics.shape(topic) is None:
            return ErrorCode.unknown_topic_or_partition
        return ErrorCode.group_subscribed_to_topic if topic in read else ErrorCode.none

    def forget_topic(self, topic: str) -> None:
        """The topic was deleted: so are its committed offsets, lest a topic of the same name inherits them."""
        for group in self._table:
            gone = tuple(p for p in group.offsets.committed if p[0] == topic)
            if gone:
                self._table.write(OffsetsDeleted(group_id=group.group_id, partitions=gone))

    def settle(self, group_id: str, producer_id: int, *, commit: bool) -> None:
        """Make the producer's pending offsets visible, or drop them. Repeating it does nothing. ``OSError``: undone."""
        group = self._table.find(group_id)
        record = None if group is None else group.offsets.end_pending(producer_id, commit=commit)
        if record is not None:
            self._table.write(record)
