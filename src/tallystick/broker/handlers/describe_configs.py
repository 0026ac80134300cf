"""DescribeConfigs (32): the settings that hold, of topics and of the broker."""

from __future__ import annotations

import enum
from datetime import timedelta
from typing import Any

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.topic_configs import DEFINITIONS, ConfigSource, ConfigType, Effective
from tallystick.wire import schema
from tallystick.wire.errors import ApiError, ErrorCode


class Resource(enum.IntEnum):
    """The kinds of things that have settings here."""

    TOPIC = 2
    BROKER = 4


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("describe_configs", context.api_version)
    results = []
    for resource in {(row.resource_type, row.resource_name): row for row in request.resources}.values():
        code, message, values = ErrorCode.none, None, {}
        try:
            values = _values(context, resource)
        except ApiError as error:
            code, message = error.code, error.message
        wanted = resource.configuration_keys
        results.append(
            build.DescribeConfigsResult(
                error_code=code,
                error_message=message,
                resource_type=resource.resource_type,
                resource_name=resource.resource_name,
                configs=tuple(
                    _row(build, name, holds, of_topic=resource.resource_type == Resource.TOPIC)
                    for name, holds in values.items()
                    if wanted is None or name in wanted
                ),
            )
        )
    return build.DescribeConfigsResponse(throttle_time=timedelta(0), results=tuple(results))


def _values(context: RequestContext, resource: Any) -> dict[str, Effective]:
    node = context.node
    match resource.resource_type:
        case Resource.TOPIC:
            topic = node.partitions.by_name(resource.resource_name)
            if topic is None:
                raise ApiError(ErrorCode.unknown_topic_or_partition, f"there is no topic {resource.resource_name!r}")
            return node.partitions.effective_configs(topic.configs)
        case Resource.BROKER:
            if resource.resource_name not in ("", str(node.node_id)):
                raise ApiError(ErrorCode.invalid_request, f"there is no broker {resource.resource_name!r}")
            values = {
                "node.id": str(node.node_id),
                "num.partitions": str(node.partitions.num_partitions),
                "auto.create.topics.enable": "true",
                "default.replication.factor": "1",
                "transaction.state.log.min.isr": "1",
            }
            return {name: Effective(value, ConfigSource.STATIC_BROKER_CONFIG) for name, value in values.items()}
    raise ApiError(ErrorCode.invalid_request, f"resource type {resource.resource_type} has no settings here")


def _row(build: Any, name: str, holds: Effective, *, of_topic: bool) -> Any:
    definition = DEFINITIONS[name] if of_topic else None
    return build.DescribeConfigsResourceResult(
        name=name,
        value=holds.value,
        read_only=not of_topic,
        config_source=int(holds.source),
        is_sensitive=False,
        synonyms=(),
        config_type=int(definition.type if definition else ConfigType.STRING),
        documentation=definition.documentation if definition else None,
    )


API = Api(key=32, name="describe_configs", min_version=1, max_version=4, handle=handle)
