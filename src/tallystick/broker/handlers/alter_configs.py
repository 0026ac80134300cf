"""AlterConfigs (33): all settings of a resource at once; what is not named goes back to its default."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.config_changes import ListDefault, replaced
from tallystick.broker.handlers.config_resources import altered
from tallystick.wire import schema


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("alter_configs", context.api_version)

    def change(present: Mapping[str, str], rows: Any, list_default: ListDefault) -> dict[str, str]:  # noqa: ARG001
        return replaced([(row.name, row.value) for row in rows])

    return build.AlterConfigsResponse(throttle_time=timedelta(0), responses=altered(context, build, request, change))


API = Api(key=33, name="alter_configs", min_version=0, max_version=2, handle=handle)
