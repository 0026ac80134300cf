"""Fetch (1): batches as they lie in the log, with a long poll.

A client that asks for a fetch session (KIP-227) names what has changed afterwards, and is told what has changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.fetch_sessions import FINAL_EPOCH, INITIAL_EPOCH, NO_SESSION, FetchSession, TopicKey
from tallystick.broker.limits import MAX_FETCH_WAIT_MS, MAX_FETCHED_BYTES
from tallystick.broker.log.partition_log import LEADER_EPOCH
from tallystick.broker.partition import Partition
from tallystick.wire import schema
from tallystick.wire.errors import ApiError, ErrorCode
from tallystick.wire.short_rows import Fetched

READ_COMMITTED = 1
_FIRST_VERSION_WITH_TOPIC_IDS = 13
NO_EPOCH: Final = -1
_NO_TIME: Final = timedelta(0)

Topics = Sequence[tuple[TopicKey, Sequence[Any]]]
"""What is to be read: topics as the client names them, and the request's rows of their partitions."""


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("fetch", context.api_version)
    by_id = context.api_version >= _FIRST_VERSION_WITH_TOPIC_IDS
    topics: Topics = [(row.topic_id if by_id else row.topic, row.partitions) for row in request.topics]
    session, changes_only = None, False
    # Whoever wants no session says so by the epoch; before version 7 there are none.
    if getattr(request, "session_epoch", FINAL_EPOCH) != FINAL_EPOCH or getattr(request, "session_id", NO_SESSION):
        try:
            session, changes_only = _session(context, request, topics, by_id=by_id)
        except ApiError as error:
            return _answer(build, (), error.code, NO_SESSION)
        if session is not None:
            topics = list(session.topics())
    found = await _found(build, context, request, topics)
    responses = found.responses
    if session is not None:
        responses = _news(session, responses, changes_only=changes_only)
    name = "topic_id" if by_id else "topic"
    rows = tuple(build.FetchableTopicResponse(**{name: topic}, partitions=tuple(rows)) for topic, rows in responses)
    return _answer(build, rows, ErrorCode.none, NO_SESSION if session is None else session.session_id)


def _session(context: RequestContext, request: Any, topics: Topics, *, by_id: bool) -> tuple[FetchSession | None, bool]:
    """The session that the answer belongs to, and whether it tells changes only."""
    sessions, owner, now_ms = context.node.fetch_sessions, context.principal, context.node.clock.monotonic_ms()
    if request.session_epoch in (INITIAL_EPOCH, FINAL_EPOCH):
        sessions.close(request.session_id, owner=owner)
        if request.session_epoch == FINAL_EPOCH:
            return None, False
        return sessions.open(topics, owner=owner, by_id=by_id, now_ms=now_ms), False
    session = sessions.resume(
        request.session_id,
        request.session_epoch,
        wanted=topics,
        forgotten=[(row.topic_id if by_id else row.topic, row.partitions) for row in request.forgotten_topics_data],
        owner=owner,
        by_id=by_id,
        now_ms=now_ms,
    )
    return session, True


def _news(
    session: FetchSession, responses: list[tuple[TopicKey, list[Any]]], *, changes_only: bool
) -> list[tuple[TopicKey, list[Any]]]:
    """What the session has not been told yet; all of it is told now."""
    news = [
        (topic, [row for row in rows if session.is_news(topic, row.partition_index, row)]) for topic, rows in responses
    ]
    return [(topic, rows) for topic, rows in news if rows] if changes_only else responses


async def _found(build: Any, context: RequestContext, request: Any, topics: Topics) -> _Pass:
    """What there is to tell, as soon as it is enough or time is up."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + min(request.max_wait.total_seconds(), MAX_FETCH_WAIT_MS / 1000)
    while True:
        found = _Pass(build, context, request)
        for topic, rows in topics:
            found.over(topic, rows)
        remaining = deadline - loop.time()
        enough = found.is_full or found.failed or found.size_bytes >= request.min_bytes
        if enough or remaining <= 0 or not found.partitions:
            return found
        if not await _more(found.partitions, remaining):
            return found


async def _more(partitions: list[Partition], timeout_s: float) -> bool:
    """Whether one of the partitions has more to read, or is gone, before time is up."""
    loop = asyncio.get_running_loop()
    woken: asyncio.Future[bool] = loop.create_future()
    tell = partial(_settle, woken, True)
    for partition in partitions:
        partition.listeners.add(tell)
    timer = loop.call_later(timeout_s, _settle, woken, False)
    try:
        return await woken
    finally:
        timer.cancel()
        for partition in partitions:
            partition.listeners.discard(tell)


def _settle(future: asyncio.Future[bool], result: bool) -> None:
    if not future.done():
        future.set_result(result)


class _Pass:
    """One pass over the partitions, and what it found."""

    __slots__ = ("_budget", "_build", "_by_id", "_committed_only", "_topics", "failed", "is_full", "partitions",
                 "responses", "size_bytes")  # fmt: skip

    def __init__(self, build: Any, context: RequestContext, request: Any) -> None:
        self._build = build
        self._topics = context.node.partitions
        self._by_id = context.api_version >= _FIRST_VERSION_WITH_TOPIC_IDS
        self._committed_only = request.isolation_level == READ_COMMITTED
        self._budget = min(request.max_bytes, context.node.settings.fetch_max_bytes, MAX_FETCHED_BYTES)
        self.responses: list[tuple[TopicKey, list[Any]]] = []
        self.partitions: list[Partition] = []
        self.size_bytes = 0
        self.failed = False
        self.is_full = False
        """There is more, and the request takes no more, whatever it wants at least."""

    def over(self, topic: TopicKey, wanted_rows: Sequence[Any]) -> None:
        """Read the partitions of one topic."""
        known = self._topics.by_name(topic) if isinstance(topic, str) else self._topics.by_id(topic)
        partitions = () if known is None else known.partitions
        rows = []
        for wanted in wanted_rows:
            index = wanted.partition
            if 0 <= index < len(partitions):
                partition = partitions[index]
                self.partitions.append(partition)
                try:
                    rows.append(self._read(partition, wanted))
                except ApiError as error:
                    rows.append(self._failed(index, error.code))
            else:
                rows.append(
                    self._failed(
                        index, ErrorCode.unknown_topic_id if self._by_id else ErrorCode.unknown_topic_or_partition
                    )
                )
        self.responses.append((topic, rows))

    def _read(self, partition: Partition, wanted: Any) -> Any:
        offset = wanted.fetch_offset
        partition.check_leader_epoch(getattr(wanted, "current_leader_epoch", NO_EPOCH))
        last_fetched_epoch = getattr(wanted, "last_fetched_epoch", NO_EPOCH)
        if last_fetched_epoch != NO_EPOCH:
            diverges_at = partition.diverges_at(offset, last_fetched_epoch=last_fetched_epoch)
            if diverges_at is not None:
                return self._diverging(partition, wanted.partition, diverges_at)
        committed_only, max_bytes = self._committed_only, wanted.partition_max_bytes
        # KIP-74: the first partition with data gives at least one batch, the others only what still fits. Once one has
        # more than that, the others are not read: each would read up to the bound, and most of it in vain.
        limit = 0 if self.is_full else min(max_bytes, self._budget - self.size_bytes)
        data, next_offset, high_watermark, last_stable_offset, log_start_offset = partition.read(
            offset, max_bytes=limit, committed_only=committed_only, at_least_one=self.size_bytes == 0
        )
        self.size_bytes += len(data)
        if limit < max_bytes and next_offset < (last_stable_offset if committed_only else high_watermark):
            self.is_full = True
        aborted = partition.log.aborted_between(offset, next_offset) if committed_only and data else ()
        if not aborted:
            return Fetched(
                wanted.partition,
                high_watermark,
                last_stable_offset,
                log_start_offset,
                data,
                () if committed_only else None,
            )
        build = self._build
        return build.PartitionData(
            partition_index=wanted.partition,
            error_code=ErrorCode.none,
            high_watermark=high_watermark,
            last_stable_offset=last_stable_offset,
            log_start_offset=log_start_offset,
            aborted_transactions=tuple(
                build.AbortedTransaction(producer_id=row.producer_id, first_offset=row.first_offset) for row in aborted
            ),
            records=data,
        )

    def _diverging(self, partition: Partition, index: int, end_offset: int) -> Any:
        """No records, but where the reader's log is no longer this one."""
        return self._build.PartitionData(
            partition_index=index,
            error_code=ErrorCode.none,
            high_watermark=partition.high_watermark,
            last_stable_offset=partition.last_stable_offset,
            log_start_offset=partition.log.start_offset,
            diverging_epoch=self._build.EpochEndOffset(epoch=LEADER_EPOCH, end_offset=end_offset),
            aborted_transactions=None,
            records=b"",
        )

    def _failed(self, index: int, code: ErrorCode) -> Any:
        self.failed = True
        return self._build.PartitionData(
            partition_index=index, error_code=code, high_watermark=-1, aborted_transactions=None, records=b""
        )


def _answer(build: Any, responses: tuple[Any, ...], code: ErrorCode, session_id: int) -> Any:
    return build.FetchResponse(throttle_time=_NO_TIME, error_code=code, session_id=session_id, responses=responses)


API = Api(key=1, name="fetch", min_version=4, max_version=18, handle=handle, reads_only=True)
