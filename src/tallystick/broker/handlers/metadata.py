"""Metadata (3): brokers, topics and partitions; an unknown topic is made, if the client allows it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.limits import MAX_PARTITIONS_PER_REQUEST
from tallystick.broker.log.partition_log import LEADER_EPOCH
from tallystick.broker.topic_partitions import Topic
from tallystick.wire import schema
from tallystick.wire.errors import ApiError, ErrorCode

_FIRST_WITHOUT_NAMES = 12


async def handle(context: RequestContext, request: Any) -> Any:
    node = context.node
    host, port = context.address
    build = schema.response("metadata", context.api_version)
    wants_all = request.topics is None or (context.api_version == 0 and not request.topics)
    if wants_all:
        topics = [_topic(build, context, topic) for topic in node.partitions.all()]
    else:
        making = _Making()
        topics = [_find(build, context, request, wanted, making) for wanted in _once(request.topics)]
    return build.MetadataResponse(
        throttle_time=timedelta(0),
        brokers=(
            build.MetadataResponseBroker(node_id=node.node_id, host=host, port=port, rack=node.settings.broker_rack),
        ),
        cluster_id=node.cluster_id,
        controller_id=node.node_id,
        topics=tuple(topics),
        error_code=ErrorCode.none,
    )


@dataclass(slots=True)
class _Making:
    """How many partitions one request may still make."""

    partitions: int = MAX_PARTITIONS_PER_REQUEST


def _once(rows: Iterable[Any]) -> Iterable[Any]:
    """Each topic once, as in Apache Kafka: else a short request could ask for a very long answer."""
    return {row.name if row.name is not None else row.topic_id: row for row in rows}.values()


def _find(build: Any, context: RequestContext, request: Any, wanted: Any, making: _Making) -> Any:
    topics = context.node.partitions
    topic_id: uuid.UUID | None = getattr(wanted, "topic_id", None)
    if wanted.name is None:
        found = topics.by_id(topic_id)
        if found is None:
            name = None if context.api_version >= _FIRST_WITHOUT_NAMES else ""
            return _failed(build, name, topic_id, ErrorCode.unknown_topic_id)
        return _topic(build, context, found)
    found = topics.by_name(wanted.name)
    if found is not None:
        return _topic(build, context, found)
    makes_topics = context.node.settings.auto_create_topics_enable and making.partitions >= topics.num_partitions
    if not (makes_topics and getattr(request, "allow_auto_topic_creation", True)):
        return _failed(build, wanted.name, None, ErrorCode.unknown_topic_or_partition)
    try:
        made = topics.create(wanted.name)
    except ApiError as error:
        return _failed(build, wanted.name, None, error.code)
    making.partitions -= len(made.partitions)
    return _topic(build, context, made)


def _topic(build: Any, context: RequestContext, topic: Topic) -> Any:
    nodes = (context.node.node_id,)
    return build.MetadataResponseTopic(
        error_code=ErrorCode.none,
        name=topic.name,
        topic_id=topic.topic_id,
        is_internal=False,
        partitions=tuple(
            build.MetadataResponsePartition(
                error_code=ErrorCode.none,
                partition_index=partition.index,
                leader_id=context.node.node_id,
                leader_epoch=LEADER_EPOCH,
                replica_nodes=nodes,
                isr_nodes=nodes,
                offline_replicas=(),
            )
            for partition in topic.partitions
        ),
    )


def _failed(build: Any, name: str | None, topic_id: uuid.UUID | None, code: ErrorCode) -> Any:
    return build.MetadataResponseTopic(error_code=code, name=name, topic_id=topic_id, is_internal=False, partitions=())


API = Api(key=3, name="metadata", min_version=0, max_version=13, handle=handle)
