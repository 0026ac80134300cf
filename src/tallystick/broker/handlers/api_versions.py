"""ApiVersions (18): what this broker answers, and its features.

KIP-511: a version that we do not know gets a version 0 answer (the server).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.features import EPOCH, FEATURES
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode

_FIRST_VERSION_WITH_FEATURES_FROM_ZERO: Final = 4
"""A client of version 3 fails to read a feature whose lowest level is 0 (KAFKA-17011), so that it is not told of it."""


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
            if api.is_advertised
        ),
        throttle_time=timedelta(0),
        supported_features=tuple(
            build.SupportedFeatureKey(
                name=feature.name, min_version=feature.min_version, max_version=feature.max_version
            )
            for feature in FEATURES
            if feature.min_version > 0 or api_version >= _FIRST_VERSION_WITH_FEATURES_FROM_ZERO
        ),
        finalized_features_epoch=EPOCH,
        finalized_features=tuple(
            build.FinalizedFeatureKey(
                name=feature.name,
                min_version_level=feature.finalized_version,
                max_version_level=feature.finalized_version,
            )
            for feature in FEATURES
        ),
    )


async def handle(context: RequestContext, request: Any) -> Any:  # noqa: ARG001
    return answer(context.node.apis, context.api_version)


API = Api(key=18, name="api_versions", min_version=0, max_version=4, handle=handle)
