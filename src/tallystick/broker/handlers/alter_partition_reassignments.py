"""AlterPartitionReassignments (45): one broker has every replica, so that the only assignment is the present one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from tallystick.broker.api import Api, RequestContext
from tallystick.wire import schema
from tallystick.wire.errors import ApiError, ErrorCode


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("alter_partition_reassignments", context.api_version)
    return build.AlterPartitionReassignmentsResponse(
        throttle_time=timedelta(0),
        allow_replication_factor_change=getattr(request, "allow_replication_factor_change", True),
        error_code=ErrorCode.none,
        error_message=None,
        responses=tuple(
            build.ReassignableTopicResponse(
                name=topic.name,
                partitions=tuple(
                    _answer(build, context, topic.name, partition)
                    for partition in {row.partition_index: row for row in topic.partitions}.values()
                ),
            )
            for topic in {row.name: row for row in request.topics}.values()
        ),
    )


def _answer(build: Any, context: RequestContext, topic: str, row: Any) -> Any:
    code, message = ErrorCode.none, None
    try:
        _check(context, topic, row.partition_index, row.replicas)
    except ApiError as error:
        code, message = error.code, error.message
    return build.ReassignablePartitionResponse(
        partition_index=row.partition_index, error_code=code, error_message=message
    )


def _check(context: RequestContext, topic: str, index: int, replicas: Sequence[int] | None) -> None:
    topics = context.node.partitions
    if topics.by_name(topic) is None:
        raise ApiError(ErrorCode.unknown_topic_or_partition, f"Unable to find a topic named {topic}.")
    if not topics.exists(topic, index):
        raise ApiError(ErrorCode.unknown_topic_or_partition, f"Unable to find partition {topic}:{index}.")
    if replicas is None:
        raise ApiError(ErrorCode.no_reassignment_in_progress, "Nothing is being moved.")
    if not replicas:
        raise ApiError(
            ErrorCode.invalid_replica_assignment, "The manual partition assignment includes an empty replica list."
        )
    for broker in replicas:
        if broker != context.node.node_id:
            raise ApiError(
                ErrorCode.invalid_replica_assignment,
                f"The manual partition assignment includes broker {broker}, but no such broker is registered.",
            )
    if len(replicas) > 1:
        raise ApiError(
            ErrorCode.invalid_replica_assignment,
            f"The manual partition assignment includes the broker {replicas[0]} more than once.",
        )


API = Api(key=45, name="alter_partition_reassignments", min_version=0, max_version=1, handle=handle)
