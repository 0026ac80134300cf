"""JoinGroup (11): waits for the rebalance."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any, Final

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.groups.classic.members import Join
from tallystick.wire import schema

_FIRST_VERSION_WITH_KNOWN_MEMBER_ID: Final = 4
_FIRST_VERSION_WITH_NULLABLE_PROTOCOL: Final = 7
_FIRST_VERSION_WITH_SKIP: Final = 9
_MILLISECOND: Final = timedelta(milliseconds=1)


async def handle(context: RequestContext, request: Any) -> Any:
    reply = await context.node.groups.classic.join(request.group_id, _join(context, request))
    build = schema.response("join_group", context.api_version)
    nullable = context.api_version >= _FIRST_VERSION_WITH_NULLABLE_PROTOCOL
    return build.JoinGroupResponse(
        throttle_time=timedelta(0),
        error_code=reply.error,
        generation_id=reply.generation_id,
        protocol_type=reply.protocol_type,
        protocol_name=reply.protocol_name if nullable else reply.protocol_name or "",
        leader=reply.leader_id,
        skip_assignment=reply.skip_assignment,
        member_id=reply.member_id,
        members=tuple(
            build.JoinGroupResponseMember(
                member_id=member.member_id, group_instance_id=member.group_instance_id, metadata=member.metadata
            )
            for member in reply.members
        ),
    )


def _join(context: RequestContext, request: Any) -> Join:
    group_instance_id = getattr(request, "group_instance_id", None)
    client_id = context.client_id or ""
    session_timeout_ms = request.session_timeout // _MILLISECOND
    return Join(
        member_id=request.member_id,
        fresh_member_id=f"{group_instance_id or client_id}-{uuid.uuid4()}",
        group_instance_id=group_instance_id,
        client_id=client_id,
        client_host=context.client_host,
        session_timeout_ms=session_timeout_ms,
        rebalance_timeout_ms=(
            request.rebalance_timeout // _MILLISECOND if context.api_version >= 1 else session_timeout_ms
        ),
        protocol_type=request.protocol_type,
        protocols=tuple((protocol.name, bytes(protocol.metadata)) for protocol in request.protocols),
        requires_known_member_id=context.api_version >= _FIRST_VERSION_WITH_KNOWN_MEMBER_ID,
        supports_skipping_assignment=context.api_version >= _FIRST_VERSION_WITH_SKIP,
    )


API = Api(key=11, name="join_group", min_version=0, max_version=9, handle=handle)
