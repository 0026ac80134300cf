"""Fetch (1): batches as they lie in the log, with a long poll.

A client that asks for a fetch session (KIP-227) names what has changed afterwards, and is told what has changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.fetch_sessions import FINAL_EPOCH, INITIAL_EPOCH, NO_SESSION, FetchSession, TopicKey
from tallystick.broker.limits import MAX_FETCH_WAIT_MS
from tallystick.broker.log.partition_log import LEADER_EPOCH
from tallystick.broker.partition import Partition
from tallystick.wire import schema
from tallystick.wire.errors import ApiError, ErrorCode

READ_COMMITTED = 1
_FIRST_VERSION_WITH_TOPIC_IDS = 13
NO_EPOCH: Final = -1
_NO_TIME: Final = timedelta(0)

Topics = Sequence[tuple[TopicKey, Sequence[Any]]]
"""What is to be read: topics as the client names them, and the request's rows of their partitions."""


@dataclass(slots=True)
class _Round:
    """What one pass over the partitions found."""

    responses: list[tuple[TopicKey, list[Any]]] = field(default_factory=list)
    size_bytes: int = 0
    failed: bool = False
    is_full: bool = False
    """There is more, and the request takes no more, whatever it wants at least."""


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


async def _found(build: Any, context: RequestContext, request: Any, topics: Topics) -> _Round:
    """What there is to tell, as soon as it is enough or time is up."""
    partitions = [found for topic, rows in topics for found in _partitions(context, topic, rows) if found is not None]
    loop = asyncio.get_running_loop()
    deadline = loop.time() + min(request.max_wait.total_seconds(), MAX_FETCH_WAIT_MS / 1000)
    while True:
        found = _collect(build, context, request, topics)
        remaining = deadline - loop.time()
        enough = found.is_full or found.failed or found.size_bytes >= request.min_bytes
        if enough or remaining <= 0 or not partitions:
            return found
        if not await _more(partitions, remaining):
            return found


async def _more(partitions: list[Partition], timeout_s: float) -> bool:
    """Whether one of the partitions has more to read, or is gone, before time is up."""
    woken = asyncio.Event()
    tell = woken.set
    for partition in partitions:
        partition.listeners.add(tell)
    try:
        async with asyncio.timeout(timeout_s):
            await woken.wait()
    except TimeoutError:
        return False
    finally:
        for partition in partitions:
            partition.listeners.discard(tell)
    return True


def _partitions(context: RequestContext, topic: TopicKey, rows: Sequence[Any]) -> list[Partition | None]:
    topics = context.node.partitions
    known = topics.by_name(topic) if isinstance(topic, str) else topics.by_id(topic)
    if known is None:
        return [None] * len(rows)
    count = len(known.partitions)
    return [known.partitions[wanted.partition] if 0 <= wanted.partition < count else None for wanted in rows]


def _collect(build: Any, context: RequestContext, request: Any, topics: Topics) -> _Round:
    result = _Round()
    budget = min(request.max_bytes, context.node.settings.fetch_max_bytes)
    by_id = context.api_version >= _FIRST_VERSION_WITH_TOPIC_IDS
    missing = ErrorCode.unknown_topic_id if by_id else ErrorCode.unknown_topic_or_partition
    for topic, wanted_rows in topics:
        rows = []
        for wanted, partition in zip(wanted_rows, _partitions(context, topic, wanted_rows), strict=True):
            if partition is None:
                result.failed = True
                rows.append(_failed(build, wanted.partition, missing))
                continue
            limit = min(wanted.partition_max_bytes, budget - result.size_bytes)
            try:
                row, size, is_all = _read(
                    build, partition, wanted, limit, result.size_bytes == 0, request.isolation_level
                )
                result.is_full |= not is_all and limit < wanted.partition_max_bytes
            except ApiError as error:
                result.failed = True
                row, size = _failed(build, wanted.partition, error.code), 0
            rows.append(row)
            result.size_bytes += size
        result.responses.append((topic, rows))
    return result


def _read(
    build: Any,
    partition: Partition,
    wanted: Any,
    max_bytes: int,
    first: bool,
    isolation_level: int,
) -> tuple[Any, int, bool]:
    """The row, its records' size, and whether that is all there is."""
    committed_only = isolation_level == READ_COMMITTED
    offset = wanted.fetch_offset
    partition.check_leader_epoch(getattr(wanted, "current_leader_epoch", NO_EPOCH))
    last_fetched_epoch = getattr(wanted, "last_fetched_epoch", NO_EPOCH)
    if last_fetched_epoch != NO_EPOCH:
        diverges_at = partition.diverges_at(offset, last_fetched_epoch=last_fetched_epoch)
        if diverges_at is not None:
            return _diverging(build, partition, wanted.partition, diverges_at), 0, True
    # KIP-74: the first partition with data gives at least one batch, the others only what still fits.
    slice_ = partition.read(offset, max_bytes=max_bytes, committed_only=committed_only, at_least_one=first)
    data = slice_.data
    aborted = None
    if committed_only:
        rows = partition.log.aborted_between(offset, slice_.next_offset) if data else []
        aborted = tuple(
            build.AbortedTransaction(producer_id=row.producer_id, first_offset=row.first_offset) for row in rows
        )
    row = build.PartitionData(
        partition_index=wanted.partition,
        error_code=ErrorCode.none,
        high_watermark=partition.high_watermark,
        last_stable_offset=partition.last_stable_offset,
        log_start_offset=partition.log.start_offset,
        aborted_transactions=aborted,
        records=data,
    )
    readable = partition.last_stable_offset if committed_only else partition.high_watermark
    return row, len(data), slice_.next_offset >= readable


def _diverging(build: Any, partition: Partition, index: int, end_offset: int) -> Any:
    """No records, but where the reader's log is no longer this one."""
    return build.PartitionData(
        partition_index=index,
        error_code=ErrorCode.none,
        high_watermark=partition.high_watermark,
        last_stable_offset=partition.last_stable_offset,
        log_start_offset=partition.log.start_offset,
        diverging_epoch=build.EpochEndOffset(epoch=LEADER_EPOCH, end_offset=end_offset),
        aborted_transactions=None,
        records=b"",
    )


def _failed(build: Any, index: int, code: ErrorCode) -> Any:
    return build.PartitionData(
        partition_index=index, error_code=code, high_watermark=-1, aborted_transactions=None, records=b""
    )


def _answer(build: Any, responses: tuple[Any, ...], code: ErrorCode, session_id: int) -> Any:
    return build.FetchResponse(throttle_time=_NO_TIME, error_code=code, session_id=session_id, responses=responses)


API = Api(key=1, name="fetch", min_version=4, max_version=18, handle=handle, reads_only=True)
