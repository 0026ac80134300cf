"""DeleteGroups (42): groups without members, with their offsets."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tallystick.broker.api import Api, RequestContext
from tallystick.wire import schema


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("delete_groups", context.api_version)
    return build.DeleteGroupsResponse(
        throttle_time=timedelta(0),
        results=tuple(
            build.DeletableGroupResult(group_id=group_id, error_code=context.node.groups.delete(group_id))
            for group_id in request.groups_names
        ),
    )


API = Api(key=42, name="delete_groups", min_version=0, max_version=2, handle=handle)
