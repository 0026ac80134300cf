"""ListPartitionReassignments (46): one broker moves no replica, so that there is none."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tallystick.broker.api import Api, RequestContext
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode


async def handle(context: RequestContext, request: Any) -> Any:  # noqa: ARG001
    build = schema.response("list_partition_reassignments", context.api_version)
    return build.ListPartitionReassignmentsResponse(
        throttle_time=timedelta(0), error_code=ErrorCode.none, error_message=None, topics=()
    )


API = Api(key=46, name="list_partition_reassignments", min_version=0, max_version=0, handle=handle)
