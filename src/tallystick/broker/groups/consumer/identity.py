"""Which member a request is from, and whether it is up to date: dynamic members by their id, static ones by both ids.

Owns: those checks (``ApiError``: the refusal). Must not know: what the request wants.
"""

from __future__ import annotations

import msgspec

from tallystick.broker.groups.consumer.group import ConsumerGroup
from tallystick.broker.groups.consumer.records import JOINING_EPOCH, STATIC_LEAVING_EPOCH, Member, Owned
from tallystick.broker.groups.consumer.requests import Heartbeat, OwnedByClient
from tallystick.wire.errors import ApiError, ErrorCode


def find_or_subscribe(group: ConsumerGroup, request: Heartbeat, *, max_size: int) -> tuple[Member, Member | None]:
    """The member as it was, new if it joins; and the static member whose place it takes, if it does."""
    is_joining = request.member_epoch == JOINING_EPOCH
    before = group.members.get(request.member_id)
    returns = request.instance_id is not None and request.instance_id in group.static_ids
    if before is None and is_joining and not returns and len(group.members) >= max_size:
        raise ApiError(
            ErrorCode.group_max_size_reached, f"The consumer group has reached its maximum capacity of {max_size}."
        )
    if request.instance_id is not None:
        return _static(group, request, request.instance_id)
    if before is None:
        if not is_joining:
            raise unknown_member(group, request.member_id)
        return Member(member_id=request.member_id), None
    if not is_joining:  # who joins again has given up everything, whatever its epoch was
        check_epoch(before, request.member_epoch, request.owned)
    return before, None


def _static(group: ConsumerGroup, request: Heartbeat, instance_id: str) -> tuple[Member, Member | None]:
    present = group.static_member(instance_id)
    if request.member_epoch != JOINING_EPOCH:
        present = known_static(group, request.member_id, instance_id)
        check_epoch(present, request.member_epoch, request.owned)
        return present, None
    if present is None:
        return Member(member_id=request.member_id, instance_id=instance_id), None
    if present.member_epoch != STATIC_LEAVING_EPOCH:
        raise ApiError(
            ErrorCode.unreleased_instance_id,
            f"Static member {request.member_id} with instance id {instance_id} cannot join the group because "
            f"the instance id is owned by {present.member_id} member.",
        )
    returned = msgspec.structs.replace(
        present, member_id=request.member_id, member_epoch=JOINING_EPOCH, previous_member_epoch=JOINING_EPOCH
    )
    return returned, present


def known_static(group: ConsumerGroup, member_id: str, instance_id: str) -> Member:
    """The static member of this instance id, if this is its member id."""
    present = group.static_member(instance_id)
    if present is None:
        raise ApiError(ErrorCode.unknown_member_id, f"Instance id {instance_id} is unknown.")
    if present.member_id != member_id:
        raise ApiError(
            ErrorCode.fenced_instance_id,
            f"Static member {member_id} with instance id {instance_id} was fenced by member {present.member_id}.",
        )
    return present


def unknown_member(group: ConsumerGroup, member_id: str) -> ApiError:
    return ApiError(ErrorCode.unknown_member_id, f"Member {member_id} is not a member of group {group.group_id}.")


def check_epoch(member: Member, received: int, owned: OwnedByClient | None) -> None:
    """The present epoch, or the one before by a member that has nothing else than we know: it missed our answer."""
    if received == member.member_epoch:
        return
    if received > member.member_epoch:
        comparison = "greater"
    elif received == member.previous_member_epoch and owned is not None and _is_part(owned, member.assigned):
        return
    else:
        comparison = "smaller"
    raise ApiError(
        ErrorCode.fenced_member_epoch,
        f"The consumer group member has a {comparison} member epoch ({received}) than the one known by the group "
        f"coordinator ({member.member_epoch}). The member must abandon all its partitions and rejoin.",
    )


def _is_part(owned: OwnedByClient, assigned: Owned) -> bool:
    return all(partitions <= assigned.get(topic_id, {}).keys() for topic_id, partitions in owned.items())
