"""One member's next step towards its target: give up first, then take what others have given up.

Owns: that step. Must not know: how targets are made, requests other than what the member says that it has.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection

import msgspec

from tallystick.broker.groups.consumer.records import Member, MemberState, Owned, Target
from tallystick.broker.groups.consumer.requests import OwnedByClient

IsFree = Callable[[uuid.UUID, int], bool]
"""Whether no other member has the partition."""


def reconcile(
    member: Member,
    target: Target,
    *,
    target_epoch: int,
    subscribed: Collection[uuid.UUID],
    is_free: IsFree,
    owned: OwnedByClient | None,
    subscription_changed: bool,
) -> Member:
    """The member after this step; itself if there is none to take.

    ``subscribed`` are the topics that it may have at all: what it no longer subscribes to is taken from it before a
    new target says so.
    """
    if member.state is MemberState.STABLE and member.member_epoch == target_epoch:
        return _without_unsubscribed(member, subscribed, owned) if subscription_changed else member
    if member.state is MemberState.UNREVOKED_PARTITIONS and _has_any(owned, member.pending_revocation):
        return _without_unsubscribed(member, subscribed, owned) if subscription_changed else member
    wanted = {topic_id: frozenset(target[topic_id]) for topic_id in target if topic_id in subscribed}
    kept, revoked = _split(member.assigned, lambda topic_id, partition: partition in wanted.get(topic_id, ()))
    if revoked and _has_any(owned, revoked):
        return _changed(
            member,
            state=MemberState.UNREVOKED_PARTITIONS,
            member_epoch=member.member_epoch,
            assigned=kept,
            pending_revocation=revoked,
        )
    missing = [
        (topic_id, partition)
        for topic_id, partitions in wanted.items()
        for partition in sorted(partitions - kept.get(topic_id, {}).keys())
    ]
    free = [place for place in missing if is_free(*place)]
    assigned = {topic_id: dict(partitions) for topic_id, partitions in kept.items()}
    for topic_id, partition in free:
        assigned.setdefault(topic_id, {})[partition] = target_epoch
    return _changed(
        member,
        state=MemberState.STABLE if len(free) == len(missing) else MemberState.UNRELEASED_PARTITIONS,
        member_epoch=target_epoch,
        assigned=assigned,
        pending_revocation={},
    )


def _without_unsubscribed(member: Member, subscribed: Collection[uuid.UUID], owned: OwnedByClient | None) -> Member:
    kept, gone = _split(member.assigned, lambda topic_id, _: topic_id in subscribed)
    if not gone:
        return member
    pending = {topic_id: dict(partitions) for topic_id, partitions in member.pending_revocation.items()}
    for topic_id, partitions in gone.items():
        pending[topic_id] = pending.get(topic_id, {}) | partitions
    if _has_any(owned, pending):
        return _changed(
            member,
            state=MemberState.UNREVOKED_PARTITIONS,
            member_epoch=member.member_epoch,
            assigned=kept,
            pending_revocation=pending,
        )
    return _changed(
        member,
        state=member.state,
        member_epoch=member.member_epoch,
        assigned=kept,
        pending_revocation=member.pending_revocation,
    )


def _has_any(owned: OwnedByClient | None, partitions: Owned) -> bool:
    """Whether the member still has one of these, as far as it says; it says nothing: it may have all."""
    if owned is None:
        return True
    return any(not partitions.get(topic_id, {}).keys().isdisjoint(held) for topic_id, held in owned.items())


def _split(owned: Owned, keeps: Callable[[uuid.UUID, int], bool]) -> tuple[Owned, Owned]:
    kept: Owned = {}
    gone: Owned = {}
    for topic_id, partitions in owned.items():
        for partition, epoch in partitions.items():
            (kept if keeps(topic_id, partition) else gone).setdefault(topic_id, {})[partition] = epoch
    return kept, gone


def _changed(
    member: Member, *, state: MemberState, member_epoch: int, assigned: Owned, pending_revocation: Owned
) -> Member:
    previous = member.previous_member_epoch if member_epoch == member.member_epoch else member.member_epoch
    return msgspec.structs.replace(
        member,
        state=state,
        member_epoch=member_epoch,
        previous_member_epoch=previous,
        assigned=assigned,
        pending_revocation=pending_revocation,
    )
