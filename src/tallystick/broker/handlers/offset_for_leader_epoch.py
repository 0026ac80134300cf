"""OffsetForLeaderEpoch (23): where a leader epoch ended. There is one epoch, and it has not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.log.partition_log import LEADER_EPOCH
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("offset_for_leader_epoch", context.api_version)
    return build.OffsetForLeaderEpochResponse(
        throttle_time=timedelta(0),
        topics=tuple(
            build.OffsetForLeaderTopicResult(
                topic=topic.topic,
                partitions=tuple(_partition(build, context, topic.topic, wanted) for wanted in topic.partitions),
            )
            for topic in request.topics
        ),
    )


def _partition(build: Any, context: RequestContext, topic: str, wanted: Any) -> Any:
    partition = context.node.partitions.partition(topic, wanted.partition)
    if partition is None:
        return build.EpochEndOffset(error_code=ErrorCode.unknown_topic_or_partition, partition=wanted.partition)
    if wanted.current_leader_epoch > LEADER_EPOCH:
        return build.EpochEndOffset(error_code=ErrorCode.unknown_leader_epoch, partition=wanted.partition)
    if wanted.leader_epoch != LEADER_EPOCH:
        return build.EpochEndOffset(error_code=ErrorCode.none, partition=wanted.partition)
    return build.EpochEndOffset(
        error_code=ErrorCode.none,
        partition=wanted.partition,
        leader_epoch=LEADER_EPOCH,
        end_offset=partition.high_watermark,
    )


API = Api(key=23, name="offset_for_leader_epoch", min_version=2, max_version=4, handle=handle, reads_only=True)
