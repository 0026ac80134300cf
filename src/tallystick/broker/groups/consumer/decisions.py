"""ConsumerGroupHeartbeat, decided: member, epoch, targets, the member's next step.

Owns: what a heartbeat, a leave and a removal do to a group, as a record. Must not know: how it is written, clocks.
``ApiError`` is a refusal, and nothing happened then.
"""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from tallystick.broker.groups.consumer.assignors import BY_NAME, Subscriber
from tallystick.broker.groups.consumer.group import ConsumerGroup
from tallystick.broker.groups.consumer.identity import find_or_subscribe, known_static, unknown_member
from tallystick.broker.groups.consumer.reconciliation import reconcile
from tallystick.broker.groups.consumer.records import (
    JOINING_EPOCH,
    STATIC_LEAVING_EPOCH,
    ConsumerGroupChanged,
    Member,
    MemberState,
    Target,
)
from tallystick.broker.groups.consumer.requests import Decision, Heartbeat
from tallystick.broker.groups.settings import GroupSettings
from tallystick.broker.ports import TopicCatalog, TopicShape
from tallystick.wire.errors import ApiError, ErrorCode

MAX_MEMBERS_BYTES: Final = 4 * 1024 * 1024
"""What the members of a group may say of themselves, all together. It stays in memory."""

FIRST_EPOCH: Final = 1
"""Of a group that was made just now; the first subscription raises it to 2, as in Apache Kafka 4.3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a heartbeat is decided with, beside the group.

    ``matched`` are the topics that the member's regular expression matches, where that was looked up anew; None: the
    group's own list holds. ``topics_changed``: a topic came, grew or went since the group looked last.
    """

    topics: TopicCatalog
    settings: GroupSettings
    matched: tuple[str, ...] | None = None
    topics_changed: bool = False


def decide_heartbeat(group: ConsumerGroup, request: Heartbeat, given: Surroundings) -> Decision:
    """A member joins, changes what it subscribes to, tells what it has, or is just alive."""
    before, replaced = find_or_subscribe(group, request, max_size=given.settings.group_consumer_max_size)
    member = _with_request(before, request)
    if member != before:
        _check_size(group, member)
    if _is_settled(group, request, before, member, given):
        return Decision(
            member_id=member.member_id,
            member_epoch=member.member_epoch,
            assignment=_shown(member) if request.is_full else None,
        )
    after = _After(group, member, replaced, given)
    changed_topics = member.topics != before.topics or member.regex != before.regex
    after.raise_epoch_if(changed_topics or after.resolved_changed, look=given.topics_changed)
    after.assign()
    stepped = reconcile(
        member,
        after.target(),
        target_epoch=after.assignment_epoch,
        subscribed=frozenset(shape.topic_id for shape in after.shapes(member)),
        is_free=after.is_free,
        owned=request.owned,
        subscription_changed=changed_topics or after.resolved_changed,
    )
    told = request.member_epoch == JOINING_EPOCH or request.is_full or stepped.assigned != before.assigned
    return Decision(
        member_id=stepped.member_id,
        member_epoch=stepped.member_epoch,
        assignment=_shown(stepped) if told else None,
        record=after.record(stepped),
    )


def _is_settled(group: ConsumerGroup, request: Heartbeat, before: Member, member: Member, given: Surroundings) -> bool:
    """Whether there is nothing to decide, as with nearly every heartbeat: these must not cost by the group's size."""
    return (
        request.member_epoch != JOINING_EPOCH
        and member == before
        and member.is_reconciled(group.group_epoch)
        and group.assignment_epoch == group.group_epoch
        and given.matched is None
        and not given.topics_changed
    )


def _shown(member: Member) -> Target:
    return {topic_id: tuple(sorted(partitions)) for topic_id, partitions in member.assigned.items()}


def decide_leave(group: ConsumerGroup, request: Heartbeat) -> Decision:
    """A member leaves for good, or a static one for a while: then it keeps its partitions until its session ends."""
    if request.instance_id is not None:
        member = known_static(group, request.member_id, request.instance_id)
    elif request.member_id in group.members:
        member = group.members[request.member_id]
    else:
        raise unknown_member(group, request.member_id)
    if request.member_epoch == STATIC_LEAVING_EPOCH:
        away = msgspec.structs.replace(
            member, member_epoch=STATIC_LEAVING_EPOCH, state=MemberState.STABLE, pending_revocation={}
        )
        record = group.changed(members=(away,))
    else:
        record = decide_removal(group, [member.member_id])
    return Decision(member_id=member.member_id, member_epoch=request.member_epoch, record=record)


def decide_removal(group: ConsumerGroup, member_ids: Sequence[str]) -> ConsumerGroupChanged:
    """Members left or were silent too long. The epoch rises, so that the next heartbeat of another shares anew."""
    return group.changed(removed=tuple(member_ids), group_epoch=group.group_epoch + 1)


def _check_size(group: ConsumerGroup, member: Member) -> None:
    others = sum(_said_bytes(other) for other in group.members.values() if other.member_id != member.member_id)
    if others + _said_bytes(member) > MAX_MEMBERS_BYTES:
        raise ApiError(ErrorCode.group_max_size_reached, "The members of the group say too much of themselves.")


def _said_bytes(member: Member) -> int:
    return (
        sum(map(len, member.topics))
        + len(member.member_id)
        + len(member.instance_id or "")
        + len(member.rack_id or "")
        + len(member.client_id)
    )


def _with_request(member: Member, request: Heartbeat) -> Member:
    said: dict[str, Any] = {
        "instance_id": request.instance_id,
        "rack_id": request.rack_id,
        "rebalance_timeout_ms": request.rebalance_timeout_ms,
        "topics": None if request.topics is None else tuple(sorted(set(request.topics))),
        "regex": request.regex,
        "assignor": request.assignor,
        "client_id": request.client_id,
        "client_host": request.client_host,
    }
    return msgspec.structs.replace(member, **{name: value for name, value in said.items() if value is not None})


class _After:
    """The group as it will be, step by step; the group itself is not touched."""

    def __init__(self, group: ConsumerGroup, member: Member, replaced: Member | None, given: Surroundings) -> None:
        self._group = group
        self._member = member
        self._replaced = replaced
        self._given = given
        self._members = {m.member_id: m for m in group.members.values() if m is not replaced}
        self._members[member.member_id] = member
        self._resolved = dict(group.resolved)
        if given.matched is not None:
            self._resolved[member.regex] = frozenset(given.matched)
        self.resolved_changed = self._resolved != group.resolved
        self._group_epoch = max(group.group_epoch, FIRST_EPOCH)
        self.assignment_epoch = group.assignment_epoch
        self._metadata_hash = group.metadata_hash
        self._assignor = group.assignor
        self._targets: dict[str, Target] = {}
        if replaced is not None:
            self._targets[member.member_id] = group.targets.get(replaced.member_id, {})

    def raise_epoch_if(self, changed: bool, *, look: bool) -> None:
        """The epoch rises when a subscription changed, or a topic that somebody subscribes to."""
        if changed or look:
            shapes = {shape for member in self._members.values() for shape in self.shapes(member)}
            found = metadata_hash(shapes)
            changed = changed or found != self._metadata_hash
            self._metadata_hash = found
        if changed:
            self._group_epoch += 1

    def assign(self) -> None:
        """New targets for everybody, if the present ones are of an older epoch."""
        if self._group_epoch <= self.assignment_epoch:
            return
        self._assignor = self._preferred_assignor()
        shapes = {member_id: self.shapes(member) for member_id, member in self._members.items()}
        subscribers = {
            member_id: Subscriber(
                topics=frozenset(shape.topic_id for shape in shapes[member_id]),
                before=self._target_before(member_id),
                instance_id=member.instance_id,
            )
            for member_id, member in self._members.items()
        }
        counts = {shape.topic_id: shape.partition_count for of_member in shapes.values() for shape in of_member}
        for member_id, target in BY_NAME[self._assignor](subscribers, counts).items():
            if target != self._group.targets.get(member_id):
                self._targets[member_id] = target
        self.assignment_epoch = self._group_epoch

    def _preferred_assignor(self) -> str:
        """What most members that choose one chose; the first of the settings if none does."""
        offered = self._given.settings.group_consumer_assignors
        votes = Counter(member.assignor for member in self._members.values() if member.assignor in offered)
        return max(offered, key=lambda name: votes[name])

    def _target_before(self, member_id: str) -> Target:
        return self._targets.get(member_id) or self._group.targets.get(member_id, {})

    def target(self) -> Target:
        """The target of the member that asks."""
        return self._targets.get(self._member.member_id, self._group.targets.get(self._member.member_id, {}))

    def shapes(self, member: Member) -> list[TopicShape]:
        """The topics that the member subscribes to, of those that there are."""
        names = set(member.topics) | self._resolved.get(member.regex, frozenset())
        found = (self._given.topics.shape(name) for name in sorted(names))
        return [shape for shape in found if shape is not None]

    def is_free(self, topic_id: uuid.UUID, partition: int) -> bool:
        owner = self._group.owners.get((topic_id, partition))
        mine = {self._member.member_id} | ({self._replaced.member_id} if self._replaced is not None else set())
        return owner is None or owner in mine

    def record(self, stepped: Member) -> ConsumerGroupChanged | None:
        """The whole change; None if there is none."""
        group = self._group
        unchanged = (
            stepped == group.members.get(stepped.member_id)
            and self._replaced is None
            and (self._group_epoch, self.assignment_epoch) == (group.group_epoch, group.assignment_epoch)
            and self._metadata_hash == group.metadata_hash
            and not self.resolved_changed
        )
        if unchanged:
            return None
        matched = self._given.matched
        return ConsumerGroupChanged(
            group_id=group.group_id,
            group_epoch=self._group_epoch,
            assignment_epoch=self.assignment_epoch,
            metadata_hash=self._metadata_hash,
            assignor=self._assignor,
            removed=() if self._replaced is None else (self._replaced.member_id,),
            members=(stepped,),
            targets=self._targets,
            resolved={} if matched is None else {self._member.regex: tuple(sorted(matched))},
        )


def metadata_hash(shapes: Iterable[TopicShape]) -> int:
    """A number that changes when a topic comes, grows, goes, or is made anew."""
    digest = hashlib.blake2b(digest_size=6)
    for name, topic_id, partition_count in sorted(shapes):
        digest.update(name.encode() + topic_id.bytes + partition_count.to_bytes(4, "big"))
    return int.from_bytes(digest.digest(), "big")
