"""Whatever members do in whatever order, a group keeps its rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick.broker.groups.classic.members import GroupStatus, JoinReply
from tallystick.wire.errors import ErrorCode

if TYPE_CHECKING:
    from tests.unit.broker.groups.conftest import Meeting

who = st.integers(0, 5)
"""Which of the member ids that were ever told, from the newest."""

instances = st.sampled_from([None, None, "one", "two"])
protocols = st.sampled_from([(("range", b""),), (("range", b"other"),), (("sticky", b""), ("range", b""))])

steps = st.one_of(
    st.tuples(st.just("new"), instances, protocols, st.booleans(), st.booleans()),
    st.tuples(st.just("join"), who, protocols),
    st.tuples(st.just("sync"), who, st.integers(-1, 1)),
    st.tuples(st.just("heartbeat"), who),
    st.tuples(st.just("leave"), who),
    st.tuples(st.just("tick"), st.sampled_from([1, 5_000, 10_000, 30_000])),
    st.tuples(st.just("full disk"), st.booleans()),
)


class Crowd:
    """The members as they see it: the ids that they were told, with their instance ids."""

    def __init__(self, meeting: Meeting) -> None:
        self.meeting = meeting
        self.told: list[tuple[str, str | None]] = []
        self.instance_of_ticket: dict[int, str | None] = {}

    def take(self, step: Any) -> None:
        try:
            self._take(step)
        except OSError:
            assert self.meeting.is_full
        finally:
            self.meeting.collect()
        for ticket, instance in self.instance_of_ticket.items():
            reply = self.meeting.answers.get(ticket)
            if isinstance(reply, JoinReply) and reply.member_id and (reply.member_id, instance) not in self.told:
                self.told.append((reply.member_id, instance))

    def _take(self, step: Any) -> None:
        meeting = self.meeting
        match step:
            case ("new", instance, offered, requires, skips):
                ticket = meeting.join(
                    instance=instance,
                    protocols=offered,
                    requires_known_member_id=requires,
                    supports_skipping_assignment=skips,
                )
                self.instance_of_ticket[ticket] = instance
            case ("tick", after_ms):
                meeting.tick(after_ms=after_ms)
            case ("full disk", is_full):
                meeting.is_full = is_full
            case (action, index, *rest) if index < len(self.told):
                member_id, instance = self.told[-1 - index]
                self._act(action, member_id, instance, rest)

    def _act(self, action: str, member_id: str, instance: str | None, rest: list[Any]) -> None:
        meeting = self.meeting
        match action:
            case "join":
                ticket = meeting.join(member_id, instance=instance, protocols=rest[0])
                self.instance_of_ticket[ticket] = instance
            case "sync":
                generation_id = meeting.machine.generation_id + rest[0]
                assignments = {m: f"to {m}".encode() for m in meeting.machine.members}
                meeting.sync(member_id, generation_id, instance=instance, to=assignments)
            case "heartbeat":
                meeting.heartbeat(member_id, instance=instance)
            case "leave":
                meeting.leave(member_id, instance=instance)


def check(meeting: Meeting, last_generation: int) -> None:
    machine = meeting.machine
    members = machine.members
    assert machine.generation_id >= last_generation
    assert all(member_id == member.member_id for member_id, member in members.items())
    static = {m.group_instance_id: m.member_id for m in members.values() if m.group_instance_id is not None}
    assert machine.static_ids == static
    assert machine.unsynced <= members.keys()
    match machine.status:
        case GroupStatus.EMPTY:
            assert (members, machine.leader_id) == ({}, None)
        case GroupStatus.STABLE | GroupStatus.COMPLETING_REBALANCE:
            assert machine.leader_id in members
            assert all(member.join_ticket is None for member in members.values())
            assert all(machine.protocol_name in dict(member.protocols) for member in members.values())
        case GroupStatus.PREPARING_REBALANCE:
            assert all(member.sync_ticket is None for member in members.values())
    if machine.status is GroupStatus.STABLE:
        assert all(member.sync_ticket is None for member in members.values())
        persisted = machine.persisted
        assert persisted is not None
        assert persisted.generation_id == machine.generation_id
        assert {m.member_id: m.assignment for m in persisted.members} == {
            m.member_id: m.assignment for m in members.values()
        }


@given(st.lists(steps, max_size=50))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_group_keeps_its_rules(make_meeting: Callable[[], Meeting], script: list[Any]) -> None:
    meeting = make_meeting()
    crowd = Crowd(meeting)
    for step in script:
        generation_id = meeting.machine.generation_id
        crowd.take(step)
        check(meeting, generation_id)


@given(st.lists(steps, max_size=40))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nobody_waits_for_ever(make_meeting: Callable[[], Meeting], script: list[Any]) -> None:
    """When nobody comes any more, everybody who waits is answered and the group empties."""
    meeting = make_meeting()
    crowd = Crowd(meeting)
    for step in script:
        crowd.take(step)
    meeting.is_full = False
    for _ in range(12):
        meeting.tick(after_ms=30_000)
    assert meeting.machine.status is GroupStatus.EMPTY
    assert all(
        ticket in meeting.answers for ticket in range(next(meeting._tickets)) if ticket in crowd.instance_of_ticket
    )


@given(st.lists(steps, max_size=40))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_recovered_group_is_the_one_that_was_last_persisted(
    make_meeting: Callable[[], Meeting], script: list[Any]
) -> None:
    meeting = make_meeting()
    crowd = Crowd(meeting)
    for step in script:
        crowd.take(step)
    recovered = make_meeting()
    for record in meeting.records:
        recovered.machine.replay(record)  # type: ignore[arg-type]
    assert recovered.machine.persisted == meeting.machine.persisted
    if meeting.machine.status is GroupStatus.STABLE:
        for member in meeting.machine.members.values():
            instance = member.group_instance_id
            assert recovered.heartbeat(member.member_id, instance=instance) is ErrorCode.none
            synced = recovered.synced(recovered.sync(member.member_id, instance=instance))
            assert synced.assignment == member.assignment
