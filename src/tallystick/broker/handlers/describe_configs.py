"""DescribeConfigs (32): the settings that hold, of topics, of the broker and of groups, and where each comes from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.broker_configs import DEFINITIONS as BROKER_DEFINITIONS
from tallystick.broker.broker_configs import Layered
from tallystick.broker.dynamic_configs import EVERY_BROKER
from tallystick.broker.handlers.config_resources import ResourceType, check_broker, topic_of
from tallystick.broker.topic_configs import DEFINITIONS as TOPIC_DEFINITIONS
from tallystick.broker.topic_configs import ConfigSource, ConfigType
from tallystick.wire import schema
from tallystick.wire.errors import ApiError, ErrorCode

_OF_GROUPS: Final = (
    "consumer.assignment.interval.ms",
    "consumer.heartbeat.interval.ms",
    "consumer.session.timeout.ms",
)
_UNCHANGEABLE: Final = ("read-only", "internal")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Described:
    """One setting of a resource. ``synonyms`` are all its values, the first one holds."""

    name: str
    value: str | None
    source: ConfigSource
    type: ConfigType
    documentation: str
    synonyms: tuple[Layered, ...] = ()
    is_read_only: bool = False
    is_sensitive: bool = field(default=False)


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("describe_configs", context.api_version)
    results = []
    for resource in {(row.resource_type, row.resource_name): row for row in request.resources}.values():
        code, message = ErrorCode.none, None
        described: list[_Described] = []
        try:
            described = list(_described(context, resource.resource_type, resource.resource_name))
        except ApiError as error:
            code, message = error.code, error.message
        wanted = resource.configuration_keys
        results.append(
            build.DescribeConfigsResult(
                error_code=code,
                error_message=message,
                resource_type=resource.resource_type,
                resource_name=resource.resource_name,
                configs=tuple(_row(build, request, row) for row in described if wanted is None or row.name in wanted),
            )
        )
    return build.DescribeConfigsResponse(throttle_time=timedelta(0), results=tuple(results))


def _described(context: RequestContext, resource_type: int, name: str) -> Iterable[_Described]:
    match resource_type:
        case ResourceType.TOPIC:
            return _of_topic(context, name)
        case ResourceType.BROKER:
            check_broker(context, name)
            return _of_every_broker(context) if name == EVERY_BROKER else _of_broker(context)
        case ResourceType.BROKER_LOGGER:
            check_broker(context, name)
            return ()
        case ResourceType.CLIENT_METRICS:
            return ()
        case ResourceType.GROUP:
            if not name:
                raise ApiError(ErrorCode.invalid_request, "Group name must not be empty")
            return _of_group(context)
    raise ApiError(ErrorCode.invalid_request, f"resource type {resource_type} has no settings here")


def _of_topic(context: RequestContext, name: str) -> Iterator[_Described]:
    topic = topic_of(context, name)
    layers = context.node.configs.layers
    for config, holds in context.node.partitions.effective_configs(topic.configs).items():
        definition = TOPIC_DEFINITIONS[config]
        own = topic.configs.get(config)
        above = () if own is None else (Layered(config, own, ConfigSource.DYNAMIC_TOPIC_CONFIG),)
        yield _Described(
            name=config,
            value=holds.value,
            source=holds.source,
            type=definition.type,
            documentation=definition.documentation,
            synonyms=above + layers.of_topics(definition),
        )


def _of_broker(context: RequestContext) -> Iterator[_Described]:
    layers = context.node.configs.layers
    for definition in BROKER_DEFINITIONS.values():
        if not definition.is_internal:
            yield _broker_row(definition.name, layers.of(definition.name))


def _of_every_broker(context: RequestContext) -> Iterator[_Described]:
    for name, value in context.node.configs.given_to(EVERY_BROKER).items():
        yield _broker_row(name, (Layered(name, value, ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG),))


def _broker_row(name: str, layered: tuple[Layered, ...]) -> _Described:
    definition = BROKER_DEFINITIONS[name]
    return _Described(
        name=name,
        value=layered[0].value if layered else None,
        source=layered[0].source if layered else ConfigSource.DEFAULT_CONFIG,
        type=definition.type,
        documentation=definition.text,
        synonyms=layered,
        is_read_only=definition.mode in _UNCHANGEABLE,
        is_sensitive=definition.is_sensitive,
    )


def _of_group(context: RequestContext) -> Iterator[_Described]:
    """Groups have no settings of their own; what holds for all is the broker's."""
    layers = context.node.configs.layers
    for name in _OF_GROUPS:
        layered = layers.of(f"group.{name}")
        definition = BROKER_DEFINITIONS[f"group.{name}"]
        yield _Described(
            name=name,
            value=layered[0].value,
            source=layered[0].source,
            type=definition.type,
            documentation=definition.text,
            synonyms=layered,
        )


def _row(build: Any, request: Any, row: _Described) -> Any:
    def shown(value: str | None) -> str | None:
        return None if row.is_sensitive else value

    return build.DescribeConfigsResourceResult(
        name=row.name,
        value=shown(row.value),
        read_only=row.is_read_only,
        config_source=int(row.source),
        is_sensitive=row.is_sensitive,
        synonyms=tuple(
            build.DescribeConfigsSynonym(name=each.name, value=shown(each.value), source=int(each.source))
            for each in (row.synonyms if request.include_synonyms else ())
        ),
        config_type=int(row.type),
        documentation=row.documentation if getattr(request, "include_documentation", False) else None,
    )


API = Api(key=32, name="describe_configs", min_version=1, max_version=4, handle=handle)
