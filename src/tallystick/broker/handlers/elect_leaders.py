"""ElectLeaders (43): the one broker leads every partition already."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from tallystick.broker.api import Api, RequestContext
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode
from tallystick.wire.refusals import refusal

_TYPES: Final = (0, 1)
"""Preferred and unclean."""
_PREFERRED: Final = 0


async def handle(context: RequestContext, request: Any) -> Any:
    kind = getattr(request, "election_type", _PREFERRED)
    if kind not in _TYPES:
        return refusal(request, ErrorCode.invalid_request, f"Unknown election type {kind}")
    build = schema.response("elect_leaders", context.api_version)
    topics = context.node.partitions
    if request.topic_partitions is None:  # of all, those that needed none are left out
        wanted: dict[str, dict[int, None]] = {topic.name: {} for topic in topics.all()}
    else:
        wanted = {}
        for row in request.topic_partitions:
            wanted.setdefault(row.topic, {}).update(dict.fromkeys(row.partitions))
    return build.ElectLeadersResponse(
        throttle_time=timedelta(0),
        error_code=ErrorCode.none,
        replica_election_results=tuple(
            build.ReplicaElectionResult(
                topic=name, partition_result=tuple(_result(build, context, name, index) for index in indexes)
            )
            for name, indexes in wanted.items()
        ),
    )


def _result(build: Any, context: RequestContext, topic: str, index: int) -> Any:
    if context.node.partitions.exists(topic, index):
        code, message = ErrorCode.election_not_needed, "Leader election not needed for topic partition."
    elif context.node.partitions.by_name(topic) is not None:
        code, message = ErrorCode.unknown_topic_or_partition, f"No such partition as {topic}-{index}"
    else:
        code, message = ErrorCode.unknown_topic_or_partition, f"No such topic as {topic}"
    return build.PartitionResult(partition_id=index, error_code=code, error_message=message)


API = Api(key=43, name="elect_leaders", min_version=0, max_version=2, handle=handle)
