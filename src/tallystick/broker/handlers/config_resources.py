"""The kinds of resources that have settings: how each is found, described and changed.

Owns: resource types and names, and which part of the node keeps their settings. Must not know: which API asks.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from tallystick.broker.api import RequestContext
from tallystick.broker.broker_configs import DEFINITIONS as BROKER_DEFINITIONS
from tallystick.broker.config_changes import ListDefault
from tallystick.broker.dynamic_configs import EVERY_BROKER
from tallystick.broker.topic_configs import DEFINITIONS as TOPIC_DEFINITIONS
from tallystick.broker.topic_configs import ConfigType
from tallystick.broker.topic_partitions import Topic
from tallystick.broker.topics import check_topic_name
from tallystick.wire.errors import ApiError, ErrorCode

ChangeSet = Callable[[Mapping[str, str], Any, ListDefault], dict[str, str]]
"""From what a resource has, and the request's rows, to what it is to have."""


class ResourceType(enum.IntEnum):
    """The numbers are those of the protocol."""

    TOPIC = 2
    BROKER = 4
    BROKER_LOGGER = 8
    CLIENT_METRICS = 16
    GROUP = 32


def topic_of(context: RequestContext, name: str) -> Topic:
    """``ApiError`` if there is none."""
    check_topic_name(name)
    topic = context.node.partitions.by_name(name)
    if topic is None:
        raise ApiError(ErrorCode.unknown_topic_or_partition, f"The topic '{name}' does not exist.")
    return topic


def check_broker(context: RequestContext, name: str) -> None:
    """The name of a broker resource: this broker's number, or empty for every broker."""
    if name == EVERY_BROKER:
        return
    if not name.removeprefix("-").isdecimal():
        raise ApiError(ErrorCode.invalid_request, f"Broker id must be an integer, but it is: {name}")
    if name != str(context.node.node_id):
        raise ApiError(
            ErrorCode.invalid_request, f"Unexpected broker id, expected {context.node.node_id}, but received {name}"
        )


def _present(context: RequestContext, resource_type: int, name: str) -> tuple[Mapping[str, str], ListDefault]:
    """What the resource has of its own now; ``ApiError`` if there is no such resource, or none that can be changed."""
    match resource_type:
        case ResourceType.TOPIC:
            if not name:
                raise ApiError(ErrorCode.invalid_request, "Default topic resources are not allowed.")
            return topic_of(context, name).configs, _topic_list
        case ResourceType.BROKER:
            check_broker(context, name)
            return context.node.configs.given_to(name), _broker_list
        case ResourceType.BROKER_LOGGER:
            check_broker(context, name)
            raise ApiError(ErrorCode.invalid_config, "This broker has no loggers of Java.")
        case ResourceType.CLIENT_METRICS:
            raise ApiError(ErrorCode.invalid_request, "Metrics of clients are not taken.")
        case ResourceType.GROUP:
            raise ApiError(ErrorCode.invalid_request, "Groups have the settings of the broker: group.consumer.*")
    raise ApiError(ErrorCode.invalid_request, f"Unknown resource type {resource_type}")


def altered(context: RequestContext, build: Any, request: Any, change: ChangeSet) -> tuple[Any, ...]:
    """The response's rows, with each resource of the request having what ``change`` makes of its settings."""
    times = Counter((row.resource_type, row.resource_name) for row in request.resources)
    rows = []
    for row in {(row.resource_type, row.resource_name): row for row in request.resources}.values():
        code, message = ErrorCode.none, None
        try:
            _check_once(times[row.resource_type, row.resource_name])
            present, list_default = _present(context, row.resource_type, row.resource_name)
            after = change(present, row.configs, list_default)
            _let_have(context, row.resource_type, row.resource_name, after, validate_only=request.validate_only)
        except ApiError as error:
            code, message = error.code, error.message
        rows.append(
            build.AlterConfigsResourceResponse(
                error_code=code,
                error_message=message,
                resource_type=row.resource_type,
                resource_name=row.resource_name,
            )
        )
    return tuple(rows)


def _check_once(times: int) -> None:
    if times > 1:
        raise ApiError(ErrorCode.invalid_request, "Each resource must appear at most once.")


def _let_have(
    context: RequestContext, resource_type: int, name: str, configs: Mapping[str, str], *, validate_only: bool
) -> None:
    """Give the resource these settings of its own, and no others. ``ApiError`` with nothing changed if it cannot."""
    if resource_type == ResourceType.TOPIC:
        present = topic_of(context, name).configs
        changes: dict[str, str | None] = dict.fromkeys(present.keys() - configs.keys())
        changes |= {key: value for key, value in configs.items() if present.get(key) != value}
        context.node.partitions.configure(name, changes, validate_only=validate_only)
    else:
        context.node.configs.change(name, configs, validate_only=validate_only)
        if not validate_only:
            context.node.reconfigure()


def _topic_list(name: str) -> str | None:
    definition = TOPIC_DEFINITIONS.get(name)
    return None if definition is None or definition.type is not ConfigType.LIST else definition.default


def _broker_list(name: str) -> str | None:
    definition = BROKER_DEFINITIONS.get(name)
    return None if definition is None or definition.type is not ConfigType.LIST else definition.default or ""
