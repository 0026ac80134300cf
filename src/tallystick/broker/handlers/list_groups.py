"""ListGroups (16): every group, or those of certain states and types."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from tallystick.broker.api import Api, RequestContext
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode

_TYPE: Final = "classic"


async def handle(context: RequestContext, request: Any) -> Any:
    states = {state.lower() for state in getattr(request, "states_filter", ())}
    types = {group_type.lower() for group_type in getattr(request, "types_filter", ())}
    build = schema.response("list_groups", context.api_version)
    return build.ListGroupsResponse(
        throttle_time=timedelta(0),
        error_code=ErrorCode.none,
        groups=tuple(
            build.ListedGroup(
                group_id=group.group_id,
                protocol_type=group.protocol_type or "",
                group_state=group.status.value,
                group_type=_TYPE,
            )
            for group in (found.members for found in context.node.groups.groups())
            if (not states or group.status.value.lower() in states) and (not types or _TYPE in types)
        ),
    )


API = Api(key=16, name="list_groups", min_version=0, max_version=5, handle=handle, reads_only=True)
