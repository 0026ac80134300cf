"""LeaveGroup (13): one member, or several from version 3 on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from tallystick.broker.api import Api, RequestContext
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode

_FIRST_BATCHED_VERSION: Final = 3


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("leave_group", context.api_version)
    if context.api_version < _FIRST_BATCHED_VERSION:
        error, errors = context.node.groups.leave(request.group_id, [(request.member_id, None)])
        return build.LeaveGroupResponse(
            throttle_time=timedelta(0), error_code=error if error is not ErrorCode.none else errors[0]
        )
    error, errors = context.node.groups.leave(
        request.group_id, [(member.member_id, member.group_instance_id) for member in request.members]
    )
    return build.LeaveGroupResponse(
        throttle_time=timedelta(0),
        error_code=error,
        members=tuple(
            build.MemberResponse(
                member_id=member.member_id, group_instance_id=member.group_instance_id, error_code=member_error
            )
            for member, member_error in zip(request.members, errors, strict=error is ErrorCode.none)
        ),
    )


API = Api(key=13, name="leave_group", min_version=0, max_version=5, handle=handle)
