"""OffsetFetch (9): committed offsets of one group, or of several from version 8 on.

Version 10 (topics by id) is not answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import groupby
from typing import Any, Final

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.groups.requests.offsets import FetchedOffset
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode

_FIRST_BATCHED_VERSION: Final = 8


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("offset_fetch", context.api_version)
    require_stable = getattr(request, "require_stable", False)
    if context.api_version < _FIRST_BATCHED_VERSION:
        fetched = _fetch(context, request, require_stable=require_stable)
        return build.OffsetFetchResponse(
            throttle_time=timedelta(0),
            topics=_topics(fetched, build.OffsetFetchResponseTopic, build.OffsetFetchResponsePartition),
            error_code=ErrorCode.none,
        )
    return build.OffsetFetchResponse(
        throttle_time=timedelta(0),
        groups=tuple(
            build.OffsetFetchResponseGroup(
                group_id=group.group_id,
                topics=_topics(
                    _fetch(context, group, require_stable=require_stable),
                    build.OffsetFetchResponseTopics,
                    build.OffsetFetchResponsePartitions,
                ),
                error_code=ErrorCode.none,
            )
            for group in _once(request.groups)
        ),
    )


def _once(groups: Iterable[Any]) -> Iterable[Any]:
    """A group whose offsets are all wanted, once: else a short request could ask for a very long answer."""
    every = {group.group_id for group in groups if group.topics is None}
    told: set[str] = set()
    for group in groups:
        if group.group_id not in every:
            yield group
        elif group.topics is None and group.group_id not in told:
            told.add(group.group_id)
            yield group


def _fetch(context: RequestContext, wanted: Any, *, require_stable: bool) -> Sequence[FetchedOffset]:
    partitions = None
    if wanted.topics is not None:
        partitions = [(str(topic.name), index) for topic in wanted.topics for index in topic.partition_indexes]
    return context.node.groups.offsets.fetch(wanted.group_id, partitions, require_stable=require_stable)


def _topics(fetched: Sequence[FetchedOffset], topic_type: Any, partition_type: Any) -> tuple[Any, ...]:
    by_topic = groupby(sorted(fetched, key=lambda row: (row.topic, row.partition)), key=lambda row: row.topic)
    return tuple(
        topic_type(
            name=name,
            partitions=tuple(
                partition_type(
                    partition_index=row.partition,
                    committed_offset=row.offset,
                    committed_leader_epoch=row.leader_epoch,
                    metadata=row.metadata,
                    error_code=row.error,
                )
                for row in rows
            ),
        )
        for name, rows in by_topic
    )


API = Api(key=9, name="offset_fetch", min_version=1, max_version=9, handle=handle)
