"""DescribeQuorum (55): a quorum of one, which this broker leads."""

from __future__ import annotations

from typing import Any, Final

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.log.partition_log import LEADER_EPOCH
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode

_METADATA: Final = ("__cluster_metadata", 0)
"""Apache Kafka's log of metadata. Here metadata is no log, so that its offsets are 0."""


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("describe_quorum", context.api_version)
    return build.DescribeQuorumResponse(
        error_code=ErrorCode.none,
        error_message=None,
        topics=tuple(
            build.TopicData(
                topic_name=topic.topic_name,
                partitions=tuple(
                    _partition(build, context, index, known=(topic.topic_name, index) == _METADATA)
                    for index in dict.fromkeys(row.partition_index for row in topic.partitions)
                ),
            )
            for topic in {row.topic_name: row for row in request.topics}.values()
        ),
        nodes=(build.Node(node_id=context.node.node_id, listeners=()),),
    )


def _partition(build: Any, context: RequestContext, index: int, *, known: bool) -> Any:
    now_ms = context.node.clock.now_ms()
    return build.PartitionData(
        partition_index=index,
        error_code=ErrorCode.none if known else ErrorCode.unknown_topic_or_partition,
        error_message=None if known else "This server does not host this topic-partition.",
        leader_id=context.node.node_id if known else 0,
        leader_epoch=LEADER_EPOCH if known else 0,
        high_watermark=0,
        current_voters=(
            build.ReplicaState(
                replica_id=context.node.node_id,
                replica_directory_id=None,
                log_end_offset=0,
                last_fetch_timestamp=now_ms,
                last_caught_up_timestamp=now_ms,
            ),
        )
        if known
        else (),
        observers=(),
    )


API = Api(key=55, name="describe_quorum", min_version=0, max_version=2, handle=handle)
