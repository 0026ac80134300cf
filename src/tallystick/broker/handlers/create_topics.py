"""CreateTopics (19)."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.limits import MAX_PARTITIONS_PER_REQUEST
from tallystick.wire import schema
from tallystick.wire.errors import ApiError, ErrorCode
from tallystick.wire.refusals import refusal

_DEFAULT = -1


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("create_topics", context.api_version)
    wanted = sum(_wished_partitions(context, topic) for topic in request.topics)
    if wanted > MAX_PARTITIONS_PER_REQUEST:
        return refusal(request, ErrorCode.policy_violation, "Excessively large number of partitions per request.")
    times = Counter(topic.name for topic in request.topics)
    results = []
    for topic in request.topics:
        try:
            _named_once(times, topic.name)
            results.append(_created(build, context, topic, validate_only=request.validate_only))
            await asyncio.sleep(0)  # lest a request of many topics keeps everybody waiting
        except ApiError as error:
            results.append(
                build.CreatableTopicResult(
                    name=topic.name, topic_id=None, error_code=error.code, error_message=error.message, configs=()
                )
            )
    return build.CreateTopicsResponse(throttle_time=timedelta(0), topics=tuple(results))


def _wished_partitions(context: RequestContext, topic: Any) -> int:
    if topic.assignments:
        return len(topic.assignments)
    return context.node.partitions.num_partitions if topic.num_partitions == _DEFAULT else max(topic.num_partitions, 0)


def _named_once(times: Counter[str], name: str) -> None:
    if times[name] > 1:
        raise ApiError(ErrorCode.invalid_request, f"topic {name!r} is named twice")


def _created(build: Any, context: RequestContext, topic: Any, *, validate_only: bool) -> Any:
    count = _partition_count(context, topic)
    topics = context.node.partitions
    count = topics.check_creation(topic.name, count)
    configs = topics.check_configs({config.name: config.value for config in topic.configs})
    made = None if validate_only else topics.create(topic.name, partition_count=count, configs=configs)
    return build.CreatableTopicResult(
        name=topic.name,
        topic_id=made.topic_id if made else None,
        error_code=ErrorCode.none,
        error_message=None,
        num_partitions=count,
        replication_factor=1,
        configs=tuple(
            build.CreatableTopicConfigs(
                name=name, value=holds.value, read_only=False, config_source=int(holds.source), is_sensitive=False
            )
            for name, holds in topics.effective_configs(configs).items()
        ),
    )


def _partition_count(context: RequestContext, topic: Any) -> int | None:
    if topic.assignments:
        if topic.num_partitions != _DEFAULT or topic.replication_factor != _DEFAULT:
            raise ApiError(ErrorCode.invalid_request, "assignments exclude a partition count and a replication factor")
        if sorted(row.partition_index for row in topic.assignments) != list(range(len(topic.assignments))) or any(
            tuple(row.broker_ids) != (context.node.node_id,) for row in topic.assignments
        ):
            raise ApiError(ErrorCode.invalid_replica_assignment, "there is one broker, and partitions count from 0")
        return len(topic.assignments)
    if topic.replication_factor not in (_DEFAULT, 1):
        raise ApiError(
            ErrorCode.invalid_replication_factor,
            f"replication factor {topic.replication_factor}, and there is one broker",
        )
    return None if topic.num_partitions == _DEFAULT else int(topic.num_partitions)


API = Api(key=19, name="create_topics", min_version=2, max_version=7, handle=handle)
