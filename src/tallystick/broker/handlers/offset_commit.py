"""OffsetCommit (8): offsets outside a transaction, fenced by member and generation.

Version 10 (topics by id) is not answered.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.groups.coordinator import Committer
from tallystick.broker.groups.records import CommittedOffset
from tallystick.wire import schema


async def handle(context: RequestContext, request: Any) -> Any:
    offsets = tuple(
        CommittedOffset(
            topic=topic.name,
            partition=row.partition_index,
            offset=row.committed_offset,
            leader_epoch=getattr(row, "committed_leader_epoch", -1),
            metadata=row.committed_metadata or "",
        )
        for topic in request.topics
        for row in topic.partitions
    )
    errors = context.node.groups.commit_offsets(
        request.group_id,
        Committer(
            member_id=request.member_id,
            group_instance_id=getattr(request, "group_instance_id", None),
            generation_id=request.generation_id_or_member_epoch,
        ),
        offsets,
    )
    build = schema.response("offset_commit", context.api_version)
    return build.OffsetCommitResponse(
        throttle_time=timedelta(0),
        topics=tuple(
            build.OffsetCommitResponseTopic(
                name=topic.name,
                partitions=tuple(
                    build.OffsetCommitResponsePartition(
                        partition_index=row.partition_index, error_code=errors[topic.name, row.partition_index]
                    )
                    for row in topic.partitions
                ),
            )
            for topic in request.topics
        ),
    )


API = Api(key=8, name="offset_commit", min_version=2, max_version=9, handle=handle)
