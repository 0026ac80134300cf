"""DescribeTopicPartitions (75): topics and their partitions in pages (KIP-966)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.log.partition_log import LEADER_EPOCH
from tallystick.broker.topics import Topic, check_topic_name
from tallystick.wire import schema
from tallystick.wire.errors import ApiError, ErrorCode


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("describe_topic_partitions", context.api_version)
    cursor = request.cursor
    if cursor is not None and cursor.partition_index < 0:
        return _answer(build, (), None)
    topics = context.node.partitions
    names = sorted({row.name for row in request.topics} or {topic.name for topic in topics.all()})
    room = max(1, min(request.response_partition_limit, context.node.settings.max_request_partition_size_limit))
    rows: list[Any] = []
    for name in names:
        if cursor is not None and name < cursor.topic_name:
            continue
        topic = topics.by_name(name)
        if topic is None:
            rows.append(_missing(build, name))
            continue
        if room == 0:
            return _answer(build, rows, build.Cursor(topic_name=name, partition_index=0))
        first = cursor.partition_index if cursor is not None and name == cursor.topic_name else 0
        shown = topic.partitions[first : first + room]
        room -= len(shown)
        rows.append(_described(build, context, topic, first, len(shown)))
        if first + len(shown) < len(topic.partitions):
            return _answer(build, rows, build.Cursor(topic_name=name, partition_index=first + len(shown)))
    return _answer(build, rows, None)


def _described(build: Any, context: RequestContext, topic: Topic, first: int, count: int) -> Any:
    nodes = (context.node.node_id,)
    return build.DescribeTopicPartitionsResponseTopic(
        error_code=ErrorCode.none,
        name=topic.name,
        topic_id=topic.topic_id,
        is_internal=False,
        partitions=tuple(
            build.DescribeTopicPartitionsResponsePartition(
                error_code=ErrorCode.none,
                partition_index=index,
                leader_id=context.node.node_id,
                leader_epoch=LEADER_EPOCH,
                replica_nodes=nodes,
                isr_nodes=nodes,
                eligible_leader_replicas=(),
                last_known_elr=(),
                offline_replicas=(),
            )
            for index in range(first, first + count)
        ),
    )


def _missing(build: Any, name: str) -> Any:
    try:
        check_topic_name(name)
        code = ErrorCode.unknown_topic_or_partition
    except ApiError as error:
        code = error.code
    return build.DescribeTopicPartitionsResponseTopic(error_code=code, name=name, topic_id=None, partitions=())


def _answer(build: Any, rows: Iterable[Any], cursor: Any) -> Any:
    return build.DescribeTopicPartitionsResponse(throttle_time=timedelta(0), topics=tuple(rows), next_cursor=cursor)


API = Api(key=75, name="describe_topic_partitions", min_version=0, max_version=0, handle=handle)
