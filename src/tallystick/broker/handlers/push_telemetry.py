"""PushTelemetry (72): nothing was subscribed to, so that nothing is taken (KIP-714)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.handlers.get_telemetry_subscriptions import SUBSCRIPTION_ID
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("push_telemetry", context.api_version)
    if request.client_instance_id is None:
        code = ErrorCode.invalid_request
    elif request.subscription_id != SUBSCRIPTION_ID:
        code = ErrorCode.unknown_subscription_id
    else:
        code = ErrorCode.telemetry_too_large if request.metrics else ErrorCode.none
    return build.PushTelemetryResponse(throttle_time=timedelta(0), error_code=code)


API = Api(key=72, name="push_telemetry", min_version=0, max_version=0, handle=handle, is_advertised=False)
