"""ApiVersions (18): what this broker answers. KIP-511: a version we do not know gets a version 0 answer (the server).

No feature is finalised, so that clients use transaction version 1 (KIP-890).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tallystick.broker.api import Api, RequestContext
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode


def answer(apis: tuple[Api, ...], api_version: int, *, error: ErrorCode = ErrorCode.none) -> Any:
    """An ApiVersions response of this version that lists these APIs."""
    build = schema.response("api_versions", api_version)
    return build.ApiVersionsResponse(
        error_code=error,
        api_keys=tuple(
            build.ApiVersion(
                api_key=api.key,
                min_version=api.min_version if api.advertised_min_version is None else api.advertised_min_version,
                max_version=api.max_version,
            )
            for api in apis
        ),
        throttle_time=timedelta(0),
    )


async def handle(context: RequestContext, request: Any) -> Any:  # noqa: ARG001
    return answer(context.node.apis, context.api_version)


API = Api(key=18, name="api_versions", min_version=0, max_version=4, handle=handle)
