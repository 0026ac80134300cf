"""Heartbeat (12): the member is alive, and learns of a rebalance."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tallystick.broker.api import Api, RequestContext
from tallystick.wire import schema


async def handle(context: RequestContext, request: Any) -> Any:
    error = context.node.groups.classic.heartbeat(
        request.group_id,
        member_id=request.member_id,
        group_instance_id=getattr(request, "group_instance_id", None),
        generation_id=request.generation_id,
    )
    build = schema.response("heartbeat", context.api_version)
    return build.HeartbeatResponse(throttle_time=timedelta(0), error_code=error)


API = Api(key=12, name="heartbeat", min_version=0, max_version=4, handle=handle, reads_only=True)
