"""FindCoordinator (10): this node coordinates every group and every transactional id."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from tallystick.broker.api import Api, RequestContext
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode

_KEY_TYPES: Final = frozenset({0, 1})
"""Group and transaction; share groups are not answered."""

_FIRST_BATCHED_VERSION: Final = 4


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("find_coordinator", context.api_version)
    known = getattr(request, "key_type", 0) in _KEY_TYPES
    host, port = context.address
    where = {
        "error_code": ErrorCode.none if known else ErrorCode.invalid_request,
        "error_message": None if known else "there are coordinators of groups and of transactions only",
        "node_id": context.node.node_id if known else -1,
        "host": host if known else "",
        "port": port if known else -1,
    }
    if context.api_version < _FIRST_BATCHED_VERSION:
        return build.FindCoordinatorResponse(throttle_time=timedelta(0), **where)
    return build.FindCoordinatorResponse(
        throttle_time=timedelta(0),
        coordinators=tuple(build.Coordinator(key=key, **where) for key in request.coordinator_keys),
    )


API = Api(key=10, name="find_coordinator", min_version=0, max_version=5, handle=handle, reads_only=True)
