"""SaslHandshake (17): the client chooses its mechanism. On a listener without SASL there is nothing to choose."""

from __future__ import annotations

from typing import Any

from tallystick.broker.api import Api, RequestContext
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("sasl_handshake", context.api_version)
    authentication = context.authentication
    if authentication is None:
        return build.SaslHandshakeResponse(error_code=ErrorCode.illegal_sasl_state, mechanisms=())
    reply = authentication.handshake(request.mechanism, raw=context.api_version == 0)
    return build.SaslHandshakeResponse(error_code=reply.error, mechanisms=authentication.mechanisms)


API = Api(key=17, name="sasl_handshake", min_version=0, max_version=1, handle=handle, reads_only=True)
