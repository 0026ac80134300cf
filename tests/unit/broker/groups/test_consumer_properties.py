"""Whatever members do in whatever order: no partition has two owners, the group comes to rest, replay is the state."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick.broker.groups.consumer.group import ConsumerGroup
from tallystick.broker.groups.consumer.records import ConsumerGroupChanged, MemberState
from tallystick.broker.journal_records import AnyJournalRecord
from tallystick.wire.errors import ApiError

if TYPE_CHECKING:
    from tests.unit.broker.groups.conftest import Crew

MEMBERS = ("m0", "m1", "m2", "m3")
INSTANCES = {"m2": "i", "m3": "i"}
"""Two that share an instance id: one takes the other's place, when it may."""

who = st.sampled_from(MEMBERS)
subscriptions = st.sampled_from([(("a",), ""), (("a", "b"), ""), (("b",), ""), ((), "a|c.*"), ((), ""), (("a",), "b")])
steps = st.one_of(
    st.tuples(st.just("join"), who, subscriptions, st.sampled_from([None, "uniform", "range"])),
    st.tuples(st.just("beat"), who, st.booleans()),
    st.tuples(st.just("beat"), who, st.booleans()),
    st.tuples(st.just("lost answer"), who),
    st.tuples(st.just("subscribe"), who, subscriptions),
    st.tuples(st.just("leave"), who, st.booleans()),
    st.tuples(st.just("topic"), st.sampled_from(["a", "b", "cc"]), st.integers(0, 5)),
    st.tuples(st.just("tick"), st.sampled_from([1, 10_000, 30_000, 45_000])),
    st.tuples(st.just("full disk"), st.booleans()),
)


class Clients:
    """The members as they see it: their epochs, and what they hold: given up only once they have heard of it."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self.epochs: dict[str, int] = {}
        self.holds: dict[str, dict[str, tuple[int, ...]]] = {}

    def take(self, step: Any) -> None:
        try:
            self._take(step)
        except ApiError:
            assert step[0] != "tick"

    def _take(self, step: Any) -> None:
        match step:
            case ("join", member, (topics, regex), assignor):
                self.holds[member] = {}
                self._hear(member, self._ask(member, 0, topics=topics, regex=regex, assignor=assignor))
            case ("beat", member, tells) if member in self.epochs:
                owned = self.holds[member] if tells else None
                self._hear(member, self._ask(member, self.epochs[member], owned=owned))
            case ("lost answer", member) if member in self.epochs:
                self._ask(member, self.epochs[member], owned=self.holds[member])
            case ("subscribe", member, (topics, regex)) if member in self.epochs:
                self._hear(member, self._ask(member, self.epochs[member], topics=topics, regex=regex))
            case ("leave", member, for_good) if member in self.epochs:
                epoch = self.epochs.pop(member)
                self.holds[member] = {}
                del epoch
                self.crew.leave(member, instance=INSTANCES.get(member), for_good=for_good)
            case ("topic", name, 0):
                if name in self.crew.office.topics.names():
                    self.crew.office.topics.delete(name)
            case ("topic", name, count):
                shape = self.crew.office.topics.shape(name)
                self.crew.office.topics.make(name, max(count, 0 if shape is None else shape.partition_count))
            case ("tick", after_ms):
                self.crew.tick(after_ms=after_ms)
            case ("full disk", is_full):
                self.crew.office.journal.is_full = is_full

    def _ask(self, member: str, epoch: int, **fields: Any) -> tuple[int, dict[str, tuple[int, ...]] | None]:
        if epoch == 0:
            return self.crew.join(member, instance=INSTANCES.get(member), **fields)
        return self.crew.beat(member, epoch, instance=INSTANCES.get(member), **fields)

    def _hear(self, member: str, told: tuple[int, dict[str, tuple[int, ...]] | None]) -> None:
        self.epochs[member], assignment = told
        if assignment is not None:
            self.holds[member] = {topic: partitions for topic, partitions in assignment.items() if topic != "gone"}


def check(crew: Crew) -> None:
    found = crew.office.coordinator.group("g")
    if found is None:
        return
    group = found.members
    assert isinstance(group, ConsumerGroup)
    places = [
        (topic_id, partition)
        for member in group.members.values()
        for owned in (member.assigned, member.pending_revocation)
        for topic_id, partitions in owned.items()
        for partition in partitions
    ]
    assert len(places) == len(set(places)), "a partition with two owners"
    assert set(group.owners) == set(places)
    assert group.static_ids == {m.instance_id: m.member_id for m in group.members.values() if m.instance_id}
    assert group.targets.keys() <= group.members.keys()
    assert group.assignment_epoch <= group.group_epoch
    for member in group.members.values():
        assert member.member_epoch <= group.group_epoch
        assert bool(member.pending_revocation) == (member.state is MemberState.UNREVOKED_PARTITIONS)


def replayed(crew: Crew) -> ConsumerGroup:
    """The group from the journal, through its bytes."""
    group = ConsumerGroup("g")
    decoder = msgspec.json.Decoder(AnyJournalRecord)
    for record in crew.office.journal.records:
        again = decoder.decode(msgspec.json.encode(record))
        assert isinstance(again, ConsumerGroupChanged)
        group.apply(again)
    return group


@given(st.lists(steps, max_size=60))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_partition_has_two_owners_and_replay_is_the_state(make_crew: Callable[..., Crew], script: list[Any]) -> None:
    crew = make_crew()
    clients = Clients(crew)
    for step in script:
        clients.take(step)
        check(crew)
    if crew.office.coordinator.group("g") is None:
        return
    assert replayed(crew) == crew.group
    snapshot = list(crew.office.coordinator.snapshot())
    crew.office.journal.records = snapshot
    assert replayed(crew) == crew.group


@given(st.lists(steps, max_size=40))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_when_members_only_heartbeat_all_partitions_have_a_reader(
    make_crew: Callable[..., Crew], script: list[Any]
) -> None:
    crew = make_crew()
    clients = Clients(crew)
    for step in script:
        clients.take(step)
    crew.office.journal.is_full = False
    crew.tick(after_ms=45_000)
    crew.tick(after_ms=45_000)
    crew.settle("m0", "m1")
    shapes = [shape for shape in map(crew.office.topics.shape, crew.office.topics.names()) if shape is not None]
    expected = {(s.name, p) for s in shapes if s.name in crew.group.topics_read() for p in range(s.partition_count)}
    held = crew.held("m0") + crew.held("m1")
    assert sorted(held) == sorted(expected)
