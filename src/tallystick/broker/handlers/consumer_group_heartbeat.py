"""ConsumerGroupHeartbeat (68): a member joins, lives, changes or leaves; KIP-848."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any, Final

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.groups.consumer.records import JOINING_EPOCH, Target
from tallystick.broker.groups.consumer.requests import Heartbeat
from tallystick.broker.security.acl import Operation, ResourceType
from tallystick.wire import schema
from tallystick.wire.errors import ApiError, ErrorCode

_FIRST_VERSION_WITH_CLIENTS_MEMBER_ID: Final = 1
_MILLISECOND: Final = timedelta(milliseconds=1)


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("consumer_group_heartbeat", context.api_version)
    groups = context.node.groups.consumer
    try:
        decision = groups.heartbeat(
            request.group_id, _heartbeat(context, request), may_see=lambda topic: _may_see(context, topic)
        )
    except ApiError as refusal:
        return build.ConsumerGroupHeartbeatResponse(
            throttle_time=timedelta(0),
            error_code=refusal.code,
            error_message=refusal.message,
            member_id=None,
            member_epoch=0,
            heartbeat_interval=timedelta(0),
            assignment=None,
        )
    stays = decision.member_epoch > JOINING_EPOCH
    return build.ConsumerGroupHeartbeatResponse(
        throttle_time=timedelta(0),
        error_code=ErrorCode.none,
        error_message=None,
        member_id=decision.member_id,
        member_epoch=decision.member_epoch,
        heartbeat_interval=timedelta(milliseconds=groups.heartbeat_interval_ms if stays else 0),
        assignment=None if decision.assignment is None else _assignment(build, decision.assignment),
    )


def _heartbeat(context: RequestContext, request: Any) -> Heartbeat:
    joins_without_id = context.api_version < _FIRST_VERSION_WITH_CLIENTS_MEMBER_ID and request.member_epoch == 0
    rebalance_timeout_ms = request.rebalance_timeout // _MILLISECOND
    return Heartbeat(
        member_id=request.member_id or (str(uuid.uuid4()) if joins_without_id else ""),
        member_epoch=request.member_epoch,
        client_id=context.client_id or "",
        client_host=context.client_host,
        instance_id=request.instance_id,
        rack_id=request.rack_id,
        rebalance_timeout_ms=None if rebalance_timeout_ms < 0 else rebalance_timeout_ms,
        topics=request.subscribed_topic_names,
        regex=getattr(request, "subscribed_topic_regex", None),
        assignor=request.server_assignor,
        owned=None if request.topic_partitions is None else _owned(request.topic_partitions),
    )


def _owned(rows: Any) -> dict[uuid.UUID, frozenset[int]]:
    owned: dict[uuid.UUID, frozenset[int]] = {}
    for row in rows:
        if row.topic_id is not None:
            owned[row.topic_id] = owned.get(row.topic_id, frozenset()) | frozenset(row.partitions)
    return owned


def _may_see(context: RequestContext, topic: str) -> bool:
    authorizer = context.node.security.authorizer
    return authorizer is None or authorizer.allows(
        context.principal, context.client_host, Operation.DESCRIBE, ResourceType.TOPIC, topic
    )


def _assignment(build: Any, assignment: Target) -> Any:
    return build.Assignment(
        topic_partitions=tuple(
            build.TopicPartitions(topic_id=topic_id, partitions=partitions)
            for topic_id, partitions in assignment.items()
        )
    )


API = Api(key=68, name="consumer_group_heartbeat", min_version=0, max_version=1, handle=handle)
