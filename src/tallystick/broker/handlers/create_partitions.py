"""CreatePartitions (37): more partitions for a topic."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tallystick.broker.api import Api, RequestContext
from tallystick.wire import schema
from tallystick.wire.errors import ApiError, ErrorCode


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("create_partitions", context.api_version)
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
        results.append(build.CreatePartitionsTopicResult(name=topic.name, error_code=code, error_message=message))
    return build.CreatePartitionsResponse(throttle_time=timedelta(0), results=tuple(results))


API = Api(key=37, name="create_partitions", min_version=0, max_version=3, handle=handle)
