"""SaslAuthenticate (36): one token of the mechanism's exchange (KIP-152); the last one says how long it holds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tallystick.broker.api import Api, RequestContext
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("sasl_authenticate", context.api_version)
    authentication = context.authentication
    if authentication is None:
        return build.SaslAuthenticateResponse(
            error_code=ErrorCode.illegal_sasl_state, error_message="this listener has no SASL", auth_bytes=b""
        )
    reply = authentication.authenticate(bytes(request.auth_bytes), now_ms=context.node.clock.monotonic_ms())
    return build.SaslAuthenticateResponse(
        error_code=reply.error,
        error_message=reply.message,
        auth_bytes=reply.token,
        session_lifetime=timedelta(milliseconds=reply.session_lifetime_ms),
    )


API = Api(key=36, name="sasl_authenticate", min_version=0, max_version=2, handle=handle, reads_only=True)
