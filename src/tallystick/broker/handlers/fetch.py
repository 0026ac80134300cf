"""Fetch (1): batches as they lie in the log, with a long poll.

A fetch session (KIP-227) is never given: session id 0 tells the client to name all its partitions each time.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.limits import MAX_FETCH_WAIT_MS
from tallystick.broker.partition import Partition
from tallystick.wire import schema
from tallystick.wire.errors import ApiError, ErrorCode

READ_COMMITTED = 1
_FIRST_VERSION_WITH_TOPIC_IDS = 13


@dataclass(slots=True)
class _Round:
    """What one pass over the partitions found."""

    responses: tuple[Any, ...] = ()
    size_bytes: int = 0
    failed: bool = False


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("fetch", context.api_version)
    if getattr(request, "session_id", 0) != 0:
        return _answer(build, (), ErrorCode.fetch_session_id_not_found)
    partitions = [found for topic in request.topics for found in _partitions(context, topic) if found is not None]
    loop = asyncio.get_running_loop()
    deadline = loop.time() + min(request.max_wait.total_seconds(), MAX_FETCH_WAIT_MS / 1000)
    while True:
        found = _collect(build, context, request)
        remaining = deadline - loop.time()
        if found.size_bytes >= request.min_bytes or found.failed or remaining <= 0 or not partitions:
            return _answer(build, found.responses, ErrorCode.none)
        await _more(partitions, remaining)


async def _more(partitions: list[Partition], timeout_s: float) -> None:
    """Wait until one of the partitions has more to read, or is gone, or time is up."""
    woken = asyncio.Event()
    tell = woken.set
    for partition in partitions:
        partition.listeners.add(tell)
    try:
        async with asyncio.timeout(timeout_s):
            await woken.wait()
    except TimeoutError:
        pass
    finally:
        for partition in partitions:
            partition.listeners.discard(tell)


def _partitions(context: RequestContext, topic: Any) -> list[Partition | None]:
    topics = context.node.partitions
    if context.api_version >= _FIRST_VERSION_WITH_TOPIC_IDS:
        known = topics.by_id(topic.topic_id)
    else:
        known = topics.by_name(topic.topic)
    if known is None:
        return [None] * len(topic.partitions)
    count = len(known.partitions)
    return [
        known.partitions[wanted.partition] if 0 <= wanted.partition < count else None for wanted in topic.partitions
    ]


def _collect(build: Any, context: RequestContext, request: Any) -> _Round:
    result = _Round()
    budget = min(request.max_bytes, context.node.settings.fetch_max_bytes)
    responses = []
    for topic in request.topics:
        by_id = context.api_version >= _FIRST_VERSION_WITH_TOPIC_IDS
        missing = ErrorCode.unknown_topic_id if by_id else ErrorCode.unknown_topic_or_partition
        rows = []
        for wanted, partition in zip(topic.partitions, _partitions(context, topic), strict=True):
            if partition is None:
                result.failed = True
                rows.append(_failed(build, wanted.partition, missing))
                continue
            limit = min(wanted.partition_max_bytes, budget - result.size_bytes)
            try:
                row, size = _read(build, partition, wanted, limit, result.size_bytes == 0, request.isolation_level)
            except ApiError as error:
                result.failed = True
                row, size = _failed(build, wanted.partition, error.code), 0
            rows.append(row)
            result.size_bytes += size
        identity = {"topic_id": topic.topic_id} if by_id else {"topic": topic.topic}
        responses.append(build.FetchableTopicResponse(**identity, partitions=tuple(rows)))
    result.responses = tuple(responses)
    return result


def _read(
    build: Any,
    partition: Partition,
    wanted: Any,
    max_bytes: int,
    first: bool,
    isolation_level: int,
) -> tuple[Any, int]:
    committed_only = isolation_level == READ_COMMITTED
    offset = wanted.fetch_offset
    # KIP-74: the first partition with data gives at least one batch, the others only what still fits.
    slice_ = partition.read(offset, max_bytes=max_bytes if max_bytes > 0 or first else 0, committed_only=committed_only)
    data = slice_.data if first or len(slice_.data) <= max(max_bytes, 0) else b""
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
    return row, len(data)


def _failed(build: Any, index: int, code: ErrorCode) -> Any:
    return build.PartitionData(
        partition_index=index, error_code=code, high_watermark=-1, aborted_transactions=None, records=b""
    )


def _answer(build: Any, responses: tuple[Any, ...], code: ErrorCode) -> Any:
    from datetime import timedelta

    return build.FetchResponse(throttle_time=timedelta(0), error_code=code, session_id=0, responses=responses)


API = Api(key=1, name="fetch", min_version=4, max_version=18, handle=handle, reads_only=True)
