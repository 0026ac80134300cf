"""AlterClientQuotas (49): refused, because nothing would keep a client to its quota."""

from __future__ import annotations

from typing import Any

from tallystick.broker.api import Api, RequestContext
from tallystick.wire.errors import ErrorCode
from tallystick.wire.refusals import refusal


async def handle(context: RequestContext, request: Any) -> Any:  # noqa: ARG001
    return refusal(request, ErrorCode.invalid_request, "This broker keeps no client to a quota.")


API = Api(key=49, name="alter_client_quotas", min_version=0, max_version=1, handle=handle)
