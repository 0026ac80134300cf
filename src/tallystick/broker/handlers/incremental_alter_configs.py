"""IncrementalAlterConfigs (44): single settings of topics and of the broker (KIP-339)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.config_changes import Change, ListDefault, changed
from tallystick.broker.handlers.config_resources import altered
from tallystick.wire import schema


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("incremental_alter_configs", context.api_version)

    def change(present: Mapping[str, str], rows: Any, list_default: ListDefault) -> dict[str, str]:
        changes = [Change(row.name, row.config_operation, row.value) for row in rows]
        return changed(present, changes, list_default)

    return build.IncrementalAlterConfigsResponse(
        throttle_time=timedelta(0), responses=altered(context, build, request, change)
    )


API = Api(key=44, name="incremental_alter_configs", min_version=0, max_version=1, handle=handle)
