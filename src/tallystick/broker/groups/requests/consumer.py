"""Drives the consumer groups: heartbeats are checked, decided, written, answered; silent members are removed.

Owns: what ``ConsumerGroupHeartbeat`` may look like, and the sessions. Must not know: the protocol's encoding, offsets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from tallystick.broker.groups.classic.group import ClassicGroup
from tallystick.broker.groups.consumer.decisions import (
    Surroundings,
    decide_heartbeat,
    decide_leave,
    decide_removal,
)
from tallystick.broker.groups.consumer.group import ConsumerGroup
from tallystick.broker.groups.consumer.identity import known_static, unknown_member
from tallystick.broker.groups.consumer.presence import Presence
from tallystick.broker.groups.consumer.records import JOINING_EPOCH, LEAVING_EPOCH, STATIC_LEAVING_EPOCH
from tallystick.broker.groups.consumer.regex import matching
from tallystick.broker.groups.consumer.requests import Decision, Heartbeat
from tallystick.broker.groups.settings import GroupSettings
from tallystick.broker.groups.table import GroupTable, not_written
from tallystick.broker.ports import TopicCatalog
from tallystick.clock import Clock
from tallystick.wire.errors import ApiError, ErrorCode

log = structlog.get_logger(__name__)

MaySee = Callable[[str], bool]
"""Whether a topic may be known to the client: others are not matched by its regular expression."""


class ConsumerGroups:
    """ConsumerGroupHeartbeat; ``ApiError`` is the refusal."""

    def __init__(self, table: GroupTable, topics: TopicCatalog, clock: Clock, settings: GroupSettings) -> None:
        self._table = table
        self._topics = topics
        self._clock = clock
        self._settings = settings
        self._presences: dict[str, Presence] = {}

    @property
    def heartbeat_interval_ms(self) -> int:
        return self._settings.group_consumer_heartbeat_interval_ms

    def heartbeat(self, group_id: str, request: Heartbeat, *, may_see: MaySee) -> Decision:
        """A member joins, lives, changes or leaves."""
        _check_form(group_id, request, self._settings.group_consumer_assignors)
        leaves = request.member_epoch in {LEAVING_EPOCH, STATIC_LEAVING_EPOCH}
        group = self._find(group_id, request)
        presence = self._presences.get(group_id) or Presence()
        if leaves:
            decision = decide_leave(group, request)
        else:
            matched = self._matched(group, request, presence, may_see)
            given = Surroundings(
                topics=self._topics,
                settings=self._settings,
                matched=matched,
                topics_changed=presence.seen_version != self._topics.version,
            )
            decision = decide_heartbeat(group, request, given)
        self._write(decision)
        if decision.record is not None:  # a static member that comes back under a new id takes the old one's place
            for member_id in decision.record.removed:
                presence.forget(member_id)
        if request.member_epoch == LEAVING_EPOCH:
            presence.forget(decision.member_id)
        elif leaves:
            presence.away(decision.member_id)
        else:
            self._heard(group_id, decision.member_id, presence)
        return decision

    def _write(self, decision: Decision) -> None:
        if decision.record is None:
            return
        try:
            self._table.write(decision.record)
        except OSError as failure:
            raise ApiError(not_written(failure), "The change of the group could not be written.") from failure

    def _heard(self, group_id: str, member_id: str, presence: Presence) -> None:
        self._presences[group_id] = presence
        presence.seen_version = self._topics.version
        found = self._table.find(group_id)
        if found is None or not isinstance(found.members, ConsumerGroup):
            return
        member = found.members.members[member_id]
        if member.regex:
            presence.matched_version[member.regex] = self._topics.version
        presence.heard(
            member,
            now_ms=self._clock.monotonic_ms(),
            session_timeout_ms=self._settings.group_consumer_session_timeout_ms,
        )

    def _find(self, group_id: str, request: Heartbeat) -> ConsumerGroup:
        """The group; one that is not there yet, or empty and classic, is one when a member joins."""
        error = self._table.check_id(group_id)
        if error is not ErrorCode.none:
            raise ApiError(error, "There are too many groups.")
        found = self._table.find(group_id)
        if found is not None and isinstance(found.members, ConsumerGroup):
            return found.members
        if request.member_epoch == JOINING_EPOCH:
            if found is None or found.members.is_empty:
                return ConsumerGroup(group_id)
            raise ApiError(
                ErrorCode.group_id_not_found,
                f"Cannot upgrade classic group {group_id} to consumer group because it has members.",
            )
        what = "Consumer group" if request.member_epoch > JOINING_EPOCH else "Group"
        message = f"{what} {group_id} not found." if found is None else f"Group {group_id} is not a consumer group."
        raise ApiError(ErrorCode.group_id_not_found, message)

    def _matched(
        self, group: ConsumerGroup, request: Heartbeat, presence: Presence, may_see: MaySee
    ) -> tuple[str, ...] | None:
        """The topics of the member's expression, if it is new to the group or topics came and went since."""
        known = group.members.get(request.member_id)
        regex = request.regex if request.regex is not None else "" if known is None else known.regex
        if not regex:
            return None
        if regex in group.resolved and presence.matched_version.get(regex) == self._topics.version:
            return None
        return tuple(name for name in matching(regex, self._topics.names()) if may_see(name))

    def remove(self, group: ConsumerGroup, members: Sequence[tuple[str, str | None]]) -> list[ErrorCode]:
        """LeaveGroup, as an administrator's tool sends it: by member id, or by instance id alone. ``OSError``."""
        errors = []
        for member_id, instance_id in members:
            try:
                found = self._removable(group, member_id, instance_id)
            except ApiError as refusal:
                errors.append(refusal.code)
                continue
            self._table.write(decide_removal(group, [found]))
            self._forget(group.group_id, [found])
            errors.append(ErrorCode.none)
        return errors

    def _removable(self, group: ConsumerGroup, member_id: str, instance_id: str | None) -> str:
        if instance_id is not None:
            return known_static(group, member_id or group.static_ids.get(instance_id, ""), instance_id).member_id
        if member_id not in group.members:
            raise unknown_member(group, member_id)
        return member_id

    def _forget(self, group_id: str, member_ids: Sequence[str]) -> None:
        presence = self._presences.get(group_id)
        for member_id in member_ids:
            if presence is not None:
                presence.forget(member_id)

    def start_sessions(self) -> None:
        """After recovery: the time that the broker was down is not counted against the members."""
        for group in self._table:
            if isinstance(group.members, ConsumerGroup):
                presence = self._presences[group.group_id] = Presence()
                for member in group.members.members.values():
                    presence.heard(
                        member,
                        now_ms=self._clock.monotonic_ms(),
                        session_timeout_ms=self._settings.group_consumer_session_timeout_ms,
                    )

    def tick(self) -> None:
        """Remove members that are silent, and those that do not give up what they were told to."""
        now_ms = self._clock.monotonic_ms()
        for group_id, presence in list(self._presences.items()):
            found = self._table.find(group_id)
            if found is None or isinstance(found.members, ClassicGroup) or found.members.is_empty:
                del self._presences[group_id]
                continue
            gone = presence.due(now_ms)
            if not gone:
                continue
            log.info("members of a consumer group are removed: silent too long", group=group_id, members=gone)
            try:
                self._table.write(decide_removal(found.members, gone))
            except OSError as failure:
                not_written(failure)
                continue
            self._forget(group_id, gone)


def _check_form(group_id: str, request: Heartbeat, assignors: Sequence[str]) -> None:
    for value, name in ((group_id, "GroupId"), (request.member_id, "MemberId")):
        if not value:
            raise ApiError(ErrorCode.invalid_request, f"{name} can't be empty.")
    for optional, name in ((request.instance_id, "InstanceId"), (request.rack_id, "RackId")):
        if optional is not None and not optional:
            raise ApiError(ErrorCode.invalid_request, f"{name} can't be empty.")
    if request.member_epoch == JOINING_EPOCH:
        _check_joining(request)
    elif request.member_epoch == STATIC_LEAVING_EPOCH and request.instance_id is None:
        raise ApiError(ErrorCode.invalid_request, "InstanceId can't be null.")
    elif request.member_epoch < STATIC_LEAVING_EPOCH:
        raise ApiError(ErrorCode.invalid_request, "MemberEpoch is invalid.")
    if request.assignor is not None and request.assignor not in assignors:
        raise ApiError(
            ErrorCode.unsupported_assignor,
            f"ServerAssignor {request.assignor} is not supported. Supported assignors: {', '.join(assignors)}.",
        )


def _check_joining(request: Heartbeat) -> None:
    if request.rebalance_timeout_ms is None:
        raise ApiError(ErrorCode.invalid_request, "RebalanceTimeoutMs must be provided in first request.")
    if request.owned is None or request.owned:
        raise ApiError(ErrorCode.invalid_request, "TopicPartitions must be empty when (re-)joining.")
    if request.topics is None and request.regex is None:
        raise ApiError(
            ErrorCode.invalid_request,
            "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
        )
