"""The rows that OffsetCommit and TxnOffsetCommit share: offsets by topic and partition in, error codes out.

Owns: reading and answering those rows in every version; topics are named by their id in the newest ones. Must not know:
who may commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from tallystick.broker.api import RequestContext
from tallystick.broker.groups.records import CommittedOffset
from tallystick.wire.errors import ErrorCode


def topic_of(context: RequestContext, row: Any) -> str | None:
    """The name of a row's topic; None for an id that no topic has."""
    if hasattr(row, "topic_id"):
        return None if row.topic_id is None else context.node.partitions.name_of(row.topic_id)
    return str(row.name)


def offsets_of(context: RequestContext, request: Any) -> tuple[CommittedOffset, ...]:
    """The offsets in a request of either API, without those of topics whose id is unknown."""
    named = ((topic_of(context, topic), topic) for topic in request.topics)
    return tuple(
        CommittedOffset(
            topic=name,
            partition=row.partition_index,
            offset=row.committed_offset,
            leader_epoch=getattr(row, "committed_leader_epoch", -1),
            metadata=row.committed_metadata or "",
        )
        for name, topic in named
        if name is not None
        for row in topic.partitions
    )


def answer(context: RequestContext, build: Any, name: str, request: Any, errors: Mapping[tuple[str, int], Any]) -> Any:
    """The response ``name`` of the module ``build``: one error code for each row of ``request``, in its order."""
    response, of_topic, of_partition = (getattr(build, name + part) for part in ("", "Topic", "Partition"))
    return response(
        throttle_time=timedelta(0),
        topics=tuple(
            of_topic(
                **{field: getattr(topic, field) for field in ("name", "topic_id") if hasattr(topic, field)},
                partitions=tuple(
                    of_partition(
                        partition_index=row.partition_index,
                        error_code=ErrorCode.unknown_topic_id
                        if (found := topic_of(context, topic)) is None
                        else errors[found, row.partition_index],
                    )
                    for row in topic.partitions
                ),
            )
            for topic in request.topics
        ),
    )
