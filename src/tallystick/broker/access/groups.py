"""Groups: whose offsets are told, which are listed, and what their members subscribe to.

Owns: the checks of those APIs of groups that need more than one operation on one group. Must not know: groups.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from tallystick.broker.access.guard import Visit, field_name, group, groups, topic_name, topics
from tallystick.broker.security.acl import CLUSTER_NAME, Operation, ResourceType
from tallystick.wire.errors import ErrorCode
from tallystick.wire.refusals import refused_rows

_FIRST_BATCHED_OFFSET_FETCH: Final = 8
_GROUP_OF_REQUEST: Final = group(Operation.DESCRIBE)
_TOPICS_OF_REQUEST: Final = topics(Operation.DESCRIBE)
_GROUPS_OF_REQUEST: Final = groups(Operation.DESCRIBE, source="groups", into="groups", name=field_name("group_id"))


def fetched_groups(visit: Visit) -> None:
    """OffsetFetch: DESCRIBE on each group, and on each topic that is asked for by name."""
    if visit.context.api_version < _FIRST_BATCHED_OFFSET_FETCH:
        _GROUP_OF_REQUEST(visit)
        if visit.response is None:
            _TOPICS_OF_REQUEST(visit)
        return
    _GROUPS_OF_REQUEST(visit)
    visit.change_request(groups=tuple(_with_known_topics(visit, row) for row in visit.request.groups))


def _with_known_topics(visit: Visit, row: Any) -> Any:
    if row.topics is None:
        return row
    kept = tuple(topic for topic in row.topics if _may_describe(visit, topic))
    return dataclasses.replace(row, topics=kept)


def _may_describe(visit: Visit, row: Any) -> bool:
    name = topic_name(visit, row)
    return name is None or visit.may(Operation.DESCRIBE, ResourceType.TOPIC, name)


def fetched_offsets(visit: Visit) -> None:
    """OffsetFetch: of all topics of a group, those that may be known; of topics asked for, a refusal of the others."""
    if visit.context.api_version < _FIRST_BATCHED_OFFSET_FETCH:
        if visit.request.topics is None:
            visit.change_response(topics=_described(visit, visit.response.topics))
        return
    asked = {row.group_id: row for row in visit.original.groups}
    visit.change_response(groups=tuple(_answered(visit, row, asked.get(row.group_id)) for row in visit.response.groups))


def _answered(visit: Visit, row: Any, asked: Any) -> Any:
    if asked is None or asked.topics is None:
        return dataclasses.replace(row, topics=_described(visit, row.topics))
    hidden = [topic for topic in asked.topics if not _may_describe(visit, topic)]
    refused = refused_rows(visit.original, "groups.topics", hidden, ErrorCode.topic_authorization_failed)
    return dataclasses.replace(row, topics=(*row.topics, *refused))


def _described(visit: Visit, rows: Any) -> tuple[Any, ...]:
    return tuple(row for row in rows if _may_describe(visit, row))


def listed_groups(visit: Visit) -> None:
    """ListGroups: all of them to who may DESCRIBE the cluster, to others those that they may DESCRIBE."""
    if visit.may(Operation.DESCRIBE, ResourceType.CLUSTER, CLUSTER_NAME):
        return
    visit.change_response(
        groups=tuple(
            row for row in visit.response.groups if visit.may(Operation.DESCRIBE, ResourceType.GROUP, row.group_id)
        )
    )


def subscribed_topics(visit: Visit) -> None:
    """ConsumerGroupHeartbeat: a member may DESCRIBE every topic that it names."""
    for name in visit.request.subscribed_topic_names or ():
        if not visit.must(Operation.DESCRIBE, ResourceType.TOPIC, name):
            visit.refuse(ErrorCode.topic_authorization_failed)
            return


def members_topics(visit: Visit) -> None:
    """ConsumerGroupDescribe: a group whose members have topics that may not be known is not described."""
    visit.change_response(groups=tuple(_without_secrets(visit, row) for row in visit.response.groups))


def _without_secrets(visit: Visit, row: Any) -> Any:
    names = {
        topic.topic_name
        for member in row.members
        for assignment in (member.assignment, member.target_assignment)
        for topic in assignment.topic_partitions
    } | {name for member in row.members for name in member.subscribed_topic_names}
    if all(visit.may(Operation.DESCRIBE, ResourceType.TOPIC, name) for name in names):
        return row
    return dataclasses.replace(
        row,
        error_code=ErrorCode.topic_authorization_failed,
        error_message="The group has topics that the client is not authorized to describe.",
        members=(),
    )
