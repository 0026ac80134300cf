"""CreatePartitions (37): more partitions for a topic."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.limits import MAX_PARTITIONS_PER_REQUEST
from tallystick.wire import schema
from tallystick.wire.errors import ApiError, ErrorCode
from tallystick.wire.refusals import refusal


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("create_partitions", context.api_version)
    if sum(_new_partitions(context, topic) for topic in request.topics) > MAX_PARTITIONS_PER_REQUEST:
        return refusal(request, ErrorCode.policy_violation, "Excessively large number of partitions per request.")
    results = []
    for topic in request.topics:
        code, message = ErrorCode.none, None
        try:
            if request.validate_only:
                context.node.partitions.check_growth(topic.name, topic.count)
            else:
                context.node.partitions.grow(topic.name, partition_count=topic.count)
        except ApiError as error:
            code, message = error.code, error.message
        await asyncio.sleep(0)  # lest a request of many topics keeps everybody waiting
        results.append(build.CreatePartitionsTopicResult(name=topic.name, error_code=code, error_message=message))
    return build.CreatePartitionsResponse(throttle_time=timedelta(0), results=tuple(results))


def _new_partitions(context: RequestContext, topic: Any) -> int:
    present = context.node.partitions.by_name(topic.name)
    return 0 if present is None else max(topic.count - len(present.partitions), 0)


API = Api(key=37, name="create_partitions", min_version=0, max_version=3, handle=handle)
