"""OffsetFetch (9): committed offsets of one group, or of several from version 8 on.

From version 9 on a member of a consumer group fetches in its present epoch; from version 10 on topics are named by
their id.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import groupby
from typing import Any, Final

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.groups.requests.offsets import FetchedOffset
from tallystick.broker.handlers.committed_rows import topic_of
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode

_FIRST_BATCHED_VERSION: Final = 8
_FIRST_VERSION_WITH_TOPIC_IDS: Final = 10


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
        groups=tuple(_group(context, build, group, require_stable=require_stable) for group in _once(request.groups)),
    )


def _group(context: RequestContext, build: Any, wanted: Any, *, require_stable: bool) -> Any:
    error = context.node.groups.offsets.check_fetch(
        wanted.group_id, getattr(wanted, "member_id", None), getattr(wanted, "member_epoch", -1)
    )
    topics: tuple[Any, ...] = ()
    if error is ErrorCode.none:
        fetched = _fetch(context, wanted, require_stable=require_stable)
        types = (build.OffsetFetchResponseTopics, build.OffsetFetchResponsePartitions)
        topics = _topics_by_id(context, wanted, fetched, *types) if _has_ids(context) else _topics(fetched, *types)
    return build.OffsetFetchResponseGroup(group_id=wanted.group_id, topics=topics, error_code=error)


def _has_ids(context: RequestContext) -> bool:
    return context.api_version >= _FIRST_VERSION_WITH_TOPIC_IDS


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
        named = ((topic_of(context, topic), topic) for topic in wanted.topics)
        partitions = [(name, index) for name, topic in named if name is not None for index in topic.partition_indexes]
    return context.node.groups.offsets.fetch(wanted.group_id, partitions, require_stable=require_stable)


def _topics(fetched: Iterable[FetchedOffset], topic_type: Any, partition_type: Any) -> tuple[Any, ...]:
    return tuple(
        topic_type(name=name, partitions=tuple(_partition(partition_type, row) for row in rows))
        for name, rows in _by_topic(fetched)
    )


def _topics_by_id(
    context: RequestContext, wanted: Any, fetched: Iterable[FetchedOffset], topic_type: Any, partition_type: Any
) -> tuple[Any, ...]:
    ids = ((context.node.partitions.topic_id(name), rows) for name, rows in _by_topic(fetched))
    known = tuple(
        topic_type(topic_id=topic_id, partitions=tuple(_partition(partition_type, row) for row in rows))
        for topic_id, rows in ids
        if topic_id is not None
    )
    return known + tuple(
        topic_type(
            topic_id=topic.topic_id,
            partitions=tuple(
                _partition(partition_type, FetchedOffset("", index, ErrorCode.unknown_topic_id))
                for index in topic.partition_indexes
            ),
        )
        for topic in wanted.topics or ()
        if topic_of(context, topic) is None
    )


def _by_topic(fetched: Iterable[FetchedOffset]) -> Iterable[tuple[str, Iterable[FetchedOffset]]]:
    return groupby(sorted(fetched, key=lambda row: (row.topic, row.partition)), key=lambda row: row.topic)


def _partition(partition_type: Any, row: FetchedOffset) -> Any:
    return partition_type(
        partition_index=row.partition,
        committed_offset=row.offset,
        committed_leader_epoch=row.leader_epoch,
        metadata=row.metadata,
        error_code=row.error,
    )


API = Api(key=9, name="offset_fetch", min_version=1, max_version=10, handle=handle)
