"""SyncGroup (14): waits for the leader's assignment."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.groups.classic.members import Sync
from tallystick.wire import schema


async def handle(context: RequestContext, request: Any) -> Any:
    reply = await context.node.groups.classic.sync(
        request.group_id,
        Sync(
            member_id=request.member_id,
            group_instance_id=getattr(request, "group_instance_id", None),
            generation_id=request.generation_id,
            protocol_type=getattr(request, "protocol_type", None),
            protocol_name=getattr(request, "protocol_name", None),
            assignments=tuple((row.member_id, bytes(row.assignment)) for row in request.assignments),
        ),
    )
    build = schema.response("sync_group", context.api_version)
    return build.SyncGroupResponse(
        throttle_time=timedelta(0),
        error_code=reply.error,
        protocol_type=reply.protocol_type,
        protocol_name=reply.protocol_name,
        assignment=reply.assignment,
    )


API = Api(key=14, name="sync_group", min_version=0, max_version=5, handle=handle)
