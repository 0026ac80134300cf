"""OffsetDelete (47): committed offsets of a group without members (KIP-496)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tallystick.broker.api import Api, RequestContext
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode


async def handle(context: RequestContext, request: Any) -> Any:
    partitions = [(str(topic.name), row.partition_index) for topic in request.topics for row in topic.partitions]
    error, errors = context.node.groups.offsets.delete(request.group_id, partitions)
    build = schema.response("offset_delete", context.api_version)
    return build.OffsetDeleteResponse(
        error_code=error,
        throttle_time=timedelta(0),
        topics=()
        if error is not ErrorCode.none
        else tuple(
            build.OffsetDeleteResponseTopic(
                name=topic.name,
                partitions=tuple(
                    build.OffsetDeleteResponsePartition(
                        partition_index=row.partition_index, error_code=errors[topic.name, row.partition_index]
                    )
                    for row in topic.partitions
                ),
            )
            for topic in request.topics
        ),
    )


API = Api(key=47, name="offset_delete", min_version=0, max_version=0, handle=handle)
