"""ListOffsets (2): earliest, latest, by time, and the largest timestamp (KIP-734), by isolation level."""

from __future__ import annotations

import enum
from collections import Counter
from datetime import timedelta
from typing import Any, Final

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.handlers.fetch import READ_COMMITTED
from tallystick.broker.log.partition_log import LEADER_EPOCH
from tallystick.broker.partition import OffsetAndTime, Partition
from tallystick.wire import schema
from tallystick.wire.errors import ApiError, ErrorCode


class Spec(enum.IntEnum):
    """Timestamps that are no times."""

    LATEST = -1
    EARLIEST = -2
    MAX_TIMESTAMP = -3
    EARLIEST_LOCAL = -4
    LATEST_TIERED = -5
    EARLIEST_PENDING_UPLOAD = -6


_NOTHING: Final = OffsetAndTime(-1, -1)
_FIRST_VERSION: Final[dict[int, int]] = {
    Spec.LATEST: 1,
    Spec.EARLIEST: 1,
    Spec.MAX_TIMESTAMP: 7,
    Spec.EARLIEST_LOCAL: 8,
    Spec.LATEST_TIERED: 9,
    Spec.EARLIEST_PENDING_UPLOAD: 11,
}


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("list_offsets", context.api_version)
    isolation_level = getattr(request, "isolation_level", 0)
    times = Counter((topic.name, wanted.partition_index) for topic in request.topics for wanted in topic.partitions)
    return build.ListOffsetsResponse(
        throttle_time=timedelta(0),
        topics=tuple(
            build.ListOffsetsTopicResponse(
                name=topic.name,
                partitions=tuple(
                    _partition(build, context, topic.name, wanted, isolation_level)
                    if times[topic.name, wanted.partition_index] == 1
                    else _told(build, wanted, ErrorCode.invalid_request, _NOTHING)
                    for wanted in topic.partitions
                ),
            )
            for topic in request.topics
        ),
    )


def _partition(build: Any, context: RequestContext, topic: str, wanted: Any, isolation_level: int) -> Any:
    partition = context.node.partitions.partition(topic, wanted.partition_index)
    code, found = ErrorCode.unknown_topic_or_partition, _NOTHING
    if partition is not None:
        code = ErrorCode.none
        try:
            partition.check_leader_epoch(getattr(wanted, "current_leader_epoch", -1))
            _check_spec(wanted.timestamp, context.api_version)
            found = _look_up(partition, wanted.timestamp, isolation_level)
        except ApiError as error:
            code = error.code
    return _told(build, wanted, code, found)


def _check_spec(timestamp_ms: int, api_version: int) -> None:
    if timestamp_ms < 0 and api_version < _FIRST_VERSION.get(timestamp_ms, api_version + 1):
        raise ApiError(ErrorCode.unsupported_version, f"version {api_version} knows no timestamp {timestamp_ms}")


def _told(build: Any, wanted: Any, code: ErrorCode, found: OffsetAndTime) -> Any:
    return build.ListOffsetsPartitionResponse(
        partition_index=wanted.partition_index,
        error_code=code,
        timestamp=found.timestamp_ms,
        offset=found.offset,
        leader_epoch=LEADER_EPOCH if found.offset >= 0 else -1,
    )


def _look_up(partition: Partition, timestamp_ms: int, isolation_level: int) -> OffsetAndTime:
    committed_only = isolation_level == READ_COMMITTED
    limit = partition.last_stable_offset if committed_only else partition.high_watermark
    match timestamp_ms:
        case Spec.LATEST:
            return OffsetAndTime(limit, -1)
        case Spec.EARLIEST | Spec.EARLIEST_LOCAL:
            return OffsetAndTime(partition.log.start_offset, -1)
        case Spec.MAX_TIMESTAMP:
            largest, _ = partition.log.max_timestamp()
            return partition.first_at_or_after(largest, limit_offset=limit) if largest >= 0 else OffsetAndTime(-1, -1)
        case Spec.LATEST_TIERED | Spec.EARLIEST_PENDING_UPLOAD:  # nothing is tiered
            return OffsetAndTime(-1, -1)
    return partition.first_at_or_after(timestamp_ms, limit_offset=limit)


API = Api(key=2, name="list_offsets", min_version=1, max_version=11, handle=handle, reads_only=True)
