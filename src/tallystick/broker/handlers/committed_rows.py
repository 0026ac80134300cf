"""The rows that OffsetCommit and TxnOffsetCommit share: offsets by topic and partition in, error codes out.

Owns: reading and answering those rows in every version. Must not know: who may commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from tallystick.broker.groups.records import CommittedOffset


def offsets_of(request: Any) -> tuple[CommittedOffset, ...]:
    """The offsets in a request of either API."""
    return tuple(
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


def answer(build: Any, name: str, request: Any, errors: Mapping[tuple[str, int], Any]) -> Any:
    """The response ``name`` of the module ``build``: one error code for each row of ``request``, in its order."""
    response, of_topic, of_partition = (getattr(build, name + part) for part in ("", "Topic", "Partition"))
    return response(
        throttle_time=timedelta(0),
        topics=tuple(
            of_topic(
                name=topic.name,
                partitions=tuple(
                    of_partition(
                        partition_index=row.partition_index, error_code=errors[topic.name, row.partition_index]
                    )
                    for row in topic.partitions
                ),
            )
            for topic in request.topics
        ),
    )
