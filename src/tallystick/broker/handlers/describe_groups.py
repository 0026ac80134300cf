"""DescribeGroups (15): members and assignments of groups."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.groups.classic.group import ClassicGroup
from tallystick.broker.groups.classic.members import GroupStatus
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode

_FIRST_VERSION_WITH_NOT_FOUND: Final = 6


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("describe_groups", context.api_version)
    return build.DescribeGroupsResponse(
        throttle_time=timedelta(0),
        groups=tuple(_describe(build, context, group_id) for group_id in dict.fromkeys(request.groups)),
    )


def _describe(build: Any, context: RequestContext, group_id: str) -> Any:
    found = context.node.groups.group(group_id)
    if found is None or not isinstance(found.members, ClassicGroup):
        reason = "not found" if found is None else "is not a classic group"
        told = context.api_version >= _FIRST_VERSION_WITH_NOT_FOUND
        return build.DescribedGroup(
            error_code=ErrorCode.group_id_not_found if told else ErrorCode.none,
            error_message=f"Group {group_id} {reason}." if told else None,
            group_id=group_id,
            group_state=GroupStatus.DEAD.value,
            protocol_type="",
            protocol_data="",
            members=(),
        )
    group = found.members
    stable = group.status is GroupStatus.STABLE
    return build.DescribedGroup(
        error_code=ErrorCode.none,
        error_message=None,
        group_id=group_id,
        group_state=group.status.value,
        protocol_type=group.protocol_type or "",
        protocol_data=(group.protocol_name or "") if stable else "",
        members=tuple(
            build.DescribedGroupMember(
                member_id=member.member_id,
                group_instance_id=member.group_instance_id,
                client_id=member.client_id,
                client_host=member.client_host,
                member_metadata=member.metadata(group.protocol_name) if stable else b"",
                member_assignment=member.assignment,
            )
            for member in group.members.values()
        ),
    )


API = Api(key=15, name="describe_groups", min_version=0, max_version=6, handle=handle, reads_only=True)
