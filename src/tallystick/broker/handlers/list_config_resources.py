"""ListConfigResources (74): the names of what has settings (KIP-1142). Version 0 lists those of client metrics only."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.handlers.config_resources import ResourceType
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode

_ALL: Final = tuple(ResourceType)


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("list_config_resources", context.api_version)
    wanted = getattr(request, "resource_types", (ResourceType.CLIENT_METRICS,)) or _ALL
    known = set(wanted) <= set(_ALL)
    return build.ListConfigResourcesResponse(
        throttle_time=timedelta(0),
        error_code=ErrorCode.none if known else ErrorCode.unsupported_version,
        config_resources=tuple(
            build.ConfigResource(resource_name=name, resource_type=int(kind))
            for kind in wanted
            if known
            for name in _names(context, kind)
        ),
    )


def _names(context: RequestContext, kind: int) -> Iterable[str]:
    """Groups and client metrics have no settings of their own here."""
    match kind:
        case ResourceType.TOPIC:
            return [topic.name for topic in context.node.partitions.all()]
        case ResourceType.BROKER | ResourceType.BROKER_LOGGER:
            return [str(context.node.node_id)]
    return ()


API = Api(key=74, name="list_config_resources", min_version=0, max_version=1, handle=handle)
