"""DescribeClientQuotas (48): there are none."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from tallystick.broker.api import Api, RequestContext
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode

_ENTITIES: Final = ("user", "client-id", "ip")


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("describe_client_quotas", context.api_version)
    unknown = next((row.entity_type for row in request.components if row.entity_type not in _ENTITIES), None)
    return build.DescribeClientQuotasResponse(
        throttle_time=timedelta(0),
        error_code=ErrorCode.none if unknown is None else ErrorCode.unsupported_version,
        error_message=None if unknown is None else f"Unsupported entity type {unknown}",
        entries=() if unknown is None else None,
    )


API = Api(key=48, name="describe_client_quotas", min_version=0, max_version=1, handle=handle)
