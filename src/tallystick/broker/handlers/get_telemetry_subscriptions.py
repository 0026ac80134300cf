"""GetTelemetrySubscriptions (71): no metrics of clients are wanted (KIP-714)."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any, Final

from tallystick.broker.api import Api, RequestContext
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode

SUBSCRIPTION_ID: Final = 0
_ASK_AGAIN: Final = timedelta(minutes=5)


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("get_telemetry_subscriptions", context.api_version)
    return build.GetTelemetrySubscriptionsResponse(
        throttle_time=timedelta(0),
        error_code=ErrorCode.none,
        client_instance_id=request.client_instance_id or uuid.uuid4(),
        subscription_id=SUBSCRIPTION_ID,
        accepted_compression_types=(),
        push_interval=_ASK_AGAIN,
        telemetry_max_bytes=0,
        delta_temporality=True,
        requested_metrics=(),
    )


API = Api(key=71, name="get_telemetry_subscriptions", min_version=0, max_version=0, handle=handle, is_advertised=False)
