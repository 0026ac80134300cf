"""ListGroups (16): every group, or those of certain states and types."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.groups.classic.group import ClassicGroup
from tallystick.broker.groups.classic.subscriptions import CONSUMER
from tallystick.broker.groups.table import Group
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode

_CLASSIC_TYPE: Final = "classic"
_CONSUMER_TYPE: Final = "consumer"


async def handle(context: RequestContext, request: Any) -> Any:
    states = {state.lower() for state in getattr(request, "states_filter", ())}
    types = {group_type.lower() for group_type in getattr(request, "types_filter", ())}
    build = schema.response("list_groups", context.api_version)
    return build.ListGroupsResponse(
        throttle_time=timedelta(0),
        error_code=ErrorCode.none,
        groups=tuple(
            _row(build, group)
            for group in context.node.groups.groups()
            if (not states or group.members.status.value.lower() in states) and (not types or _type(group) in types)
        ),
    )


def _type(group: Group) -> str:
    return _CLASSIC_TYPE if isinstance(group.members, ClassicGroup) else _CONSUMER_TYPE


def _row(build: Any, group: Group) -> Any:
    members = group.members
    return build.ListedGroup(
        group_id=group.group_id,
        protocol_type=(members.protocol_type or "") if isinstance(members, ClassicGroup) else CONSUMER,
        group_state=members.status.value,
        group_type=_type(group),
    )


API = Api(key=16, name="list_groups", min_version=0, max_version=5, handle=handle, reads_only=True)
