"""ConsumerGroupDescribe (69): members, assignments and targets of groups of KIP-848."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.groups.consumer.group import ConsumerGroup
from tallystick.broker.groups.consumer.records import Member
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode

_CONSUMER_MEMBER: Final = 1


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("consumer_group_describe", context.api_version)
    return build.ConsumerGroupDescribeResponse(
        throttle_time=timedelta(0),
        groups=tuple(_describe(build, context, group_id) for group_id in dict.fromkeys(request.group_ids)),
    )


def _describe(build: Any, context: RequestContext, group_id: str) -> Any:
    found = context.node.groups.group(group_id)
    if found is None or not isinstance(found.members, ConsumerGroup):
        reason = "not found" if found is None else "is not a consumer group"
        return build.DescribedGroup(
            error_code=ErrorCode.group_id_not_found,
            error_message=f"Group {group_id} {reason}.",
            group_id=group_id,
            group_state="",
            group_epoch=0,
            assignment_epoch=0,
            assignor_name="",
            members=(),
        )
    group = found.members
    return build.DescribedGroup(
        error_code=ErrorCode.none,
        error_message=None,
        group_id=group_id,
        group_state=group.status.value,
        group_epoch=group.group_epoch,
        assignment_epoch=group.assignment_epoch,
        assignor_name=group.assignor,
        members=tuple(_member(build, context, group, member) for member in group.members.values()),
    )


def _member(build: Any, context: RequestContext, group: ConsumerGroup, member: Member) -> Any:
    held: dict[uuid.UUID, set[int]] = {}
    for owned in (member.assigned, member.pending_revocation):
        for topic_id, partitions in owned.items():
            held.setdefault(topic_id, set()).update(partitions)
    return build.Member(
        member_id=member.member_id,
        instance_id=member.instance_id,
        rack_id=member.rack_id,
        member_epoch=member.member_epoch,
        client_id=member.client_id,
        client_host=member.client_host,
        subscribed_topic_names=member.topics,
        subscribed_topic_regex=member.regex,
        assignment=_assignment(build, context, held.items()),
        target_assignment=_assignment(build, context, group.targets.get(member.member_id, {}).items()),
        member_type=_CONSUMER_MEMBER,
    )


def _assignment(build: Any, context: RequestContext, rows: Iterable[tuple[uuid.UUID, Iterable[int]]]) -> Any:
    """Topics that are gone have no name, and are left out, as in Apache Kafka."""
    named = ((topic_id, context.node.partitions.name_of(topic_id), partitions) for topic_id, partitions in rows)
    return build.Assignment(
        topic_partitions=tuple(
            build.TopicPartitions(topic_id=topic_id, topic_name=name, partitions=tuple(sorted(partitions)))
            for topic_id, name, partitions in named
            if name is not None
        )
    )


API = Api(key=69, name="consumer_group_describe", min_version=0, max_version=1, handle=handle, reads_only=True)
