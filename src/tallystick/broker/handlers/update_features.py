"""UpdateFeatures (57): refused, because the features of this broker are fixed; what it has may be asked for."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.features import FEATURES
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode

_FIRST_VERSION_WITHOUT_RESULTS: Final = 2


async def handle(context: RequestContext, request: Any) -> Any:
    refusals = {str(update.feature): _refusal(update) for update in request.feature_updates}
    messages = [message for message in refusals.values() if message is not None]
    whole = context.api_version >= _FIRST_VERSION_WITHOUT_RESULTS and bool(messages)
    build = schema.response("update_features", context.api_version)
    return build.UpdateFeaturesResponse(
        throttle_time=timedelta(0),
        error_code=ErrorCode.invalid_update_version if whole else ErrorCode.none,
        error_message=" ".join(messages) if whole else None,
        results=tuple(
            build.UpdatableFeatureResult(
                feature=name,
                error_code=ErrorCode.none if message is None else ErrorCode.invalid_update_version,
                error_message=message,
            )
            for name, message in refusals.items()
        ),
    )


def _refusal(update: Any) -> str | None:
    for feature in FEATURES:
        if feature.name == update.feature:
            if update.max_version_level == feature.finalized_version:
                return None
            return (
                f"Could not set {feature.name} to {update.max_version_level}: "
                f"it is fixed at {feature.finalized_version} in this broker."
            )
    return f"Could not set {update.feature}: this broker does not know the feature."


API = Api(key=57, name="update_features", min_version=0, max_version=2, handle=handle)
