"""Who may commit and fetch offsets of a consumer group.

Owns: those rules. Must not know: the offsets.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from tallystick.broker.groups.consumer.group import ConsumerGroup
from tallystick.broker.groups.consumer.records import Member
from tallystick.wire.errors import ErrorCode


def check_commit(
    group: ConsumerGroup, member_id: str, member_epoch: int, places: Iterable[tuple[uuid.UUID, int]]
) -> ErrorCode:
    """A member commits in its present epoch, or in an older one for what it has had since then (KIP-1251)."""
    if member_epoch < 0 and group.is_empty:
        return ErrorCode.none
    member = group.members.get(member_id)
    if member is None:
        return ErrorCode.unknown_member_id
    if member_epoch == member.member_epoch:
        return ErrorCode.none
    if member_epoch > member.member_epoch or not all(_had(member, member_epoch, *place) for place in places):
        return ErrorCode.stale_member_epoch
    return ErrorCode.none


def _had(member: Member, member_epoch: int, topic_id: uuid.UUID, partition: int) -> bool:
    since = member.assignment_epoch(topic_id, partition)
    return since is not None and since <= member_epoch


def check_fetch(group: ConsumerGroup, member_id: str | None, member_epoch: int) -> ErrorCode:
    """Anybody fetches who says nothing of himself; a member in its present epoch."""
    if member_id is None and member_epoch < 0:
        return ErrorCode.none
    member = group.members.get(member_id or "")
    if member is None:
        return ErrorCode.unknown_member_id
    return ErrorCode.none if member_epoch == member.member_epoch else ErrorCode.stale_member_epoch
