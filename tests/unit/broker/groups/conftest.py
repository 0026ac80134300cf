"""A group's membership machine with its surroundings written out: time, tickets, ids and records as plain values."""

from __future__ import annotations

import asyncio
import errno
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.catalog import Catalog, topic_id_of

from tallystick.broker.groups import GroupCoordinator, GroupSettings
from tallystick.broker.groups.classic import joining, rebalance, staying, syncing
from tallystick.broker.groups.classic.group import ClassicGroup
from tallystick.broker.groups.classic.members import Join, JoinReply, Reply, Sync, SyncReply
from tallystick.broker.groups.classic.records import GroupGeneration
from tallystick.broker.groups.consumer.group import ConsumerGroup, ConsumerGroupStatus
from tallystick.broker.groups.consumer.requests import Heartbeat
from tallystick.broker.groups.table import Group
from tallystick.broker.ports import JournalRecord
from tallystick.clock import ManualClock
from tallystick.wire.errors import ErrorCode

SESSION_TIMEOUT_MS, REBALANCE_TIMEOUT_MS = 10_000, 30_000


class Meeting:
    """One group, its members' requests, and what they were answered."""

    def __init__(self, **options: Any) -> None:
        self.records: list[JournalRecord] = []
        self.is_full = False
        self.now_ms = 0
        self.machine = ClassicGroup("g", self._append, GroupSettings(**options))
        self.answers: dict[int, Reply] = {}
        self._tickets = itertools.count()
        self._ids = itertools.count()

    def _append(self, record: GroupGeneration) -> GroupGeneration:
        if self.is_full:
            raise OSError(errno.ENOSPC, "no space left on device")
        self.records.append(record)
        return record

    def collect(self) -> None:
        for reply in self.machine.replies:
            assert reply.ticket not in self.answers, "answered twice"
            self.answers[reply.ticket] = reply
        self.machine.replies.clear()

    def join(self, member_id: str = "", *, instance: str | None = None, **options: Any) -> int:
        fields: dict[str, Any] = {
            "protocols": (("range", b"topics"),),
            "protocol_type": "consumer",
            "requires_known_member_id": False,
            "supports_skipping_assignment": True,
            "session_timeout_ms": SESSION_TIMEOUT_MS,
            "rebalance_timeout_ms": REBALANCE_TIMEOUT_MS,
        } | options
        ticket = next(self._tickets)
        joining.join(
            self.machine,
            Join(
                member_id=member_id,
                fresh_member_id=f"m{next(self._ids)}",
                group_instance_id=instance,
                client_id="client",
                client_host="127.0.0.1",
                **fields,
            ),
            ticket,
            self.now_ms,
        )
        self.collect()
        return ticket

    def joined(self, ticket: int) -> JoinReply:
        reply = self.answers[ticket]
        assert isinstance(reply, JoinReply)
        return reply

    def sync(
        self,
        member_id: str,
        generation_id: int | None = None,
        *,
        instance: str | None = None,
        to: dict[str, bytes] | None = None,
    ) -> int:
        ticket = next(self._tickets)
        syncing.sync(
            self.machine,
            Sync(
                member_id=member_id,
                group_instance_id=instance,
                generation_id=self.machine.generation_id if generation_id is None else generation_id,
                assignments=tuple((to or {}).items()),
            ),
            ticket,
            self.now_ms,
        )
        self.collect()
        return ticket

    def synced(self, ticket: int) -> SyncReply:
        reply = self.answers[ticket]
        assert isinstance(reply, SyncReply)
        return reply

    def waits(self, ticket: int) -> bool:
        return ticket not in self.answers

    def heartbeat(self, member_id: str, *, instance: str | None = None, generation_id: int | None = None) -> ErrorCode:
        generation = self.machine.generation_id if generation_id is None else generation_id
        return staying.heartbeat(self.machine, member_id, instance, generation, self.now_ms)

    def leave(self, member_id: str, *, instance: str | None = None) -> ErrorCode:
        error = staying.leave(self.machine, member_id, instance, self.now_ms)
        self.collect()
        return error

    def tick(self, *, after_ms: int) -> None:
        self.now_ms += after_ms
        rebalance.tick(self.machine, self.now_ms)
        self.collect()

    def stable(self, *instances: str | None) -> list[str]:
        """Members that joined, one for each instance id (None: dynamic), all assigned; the first leads."""
        first = self.joined(self.join(instance=instances[0])).member_id
        tickets = [self.join(instance=instance) for instance in instances[1:]]
        again = self.join(first, instance=instances[0]) if tickets else None
        members = [first, *(self.joined(ticket).member_id for ticket in tickets)]
        assert again is None or self.joined(again).leader_id == first
        for member_id, instance in list(zip(members, instances, strict=True))[::-1]:
            self.sync(member_id, instance=instance, to={m: f"to {m}".encode() for m in members})
        assert self.machine.status.value == "Stable"
        return members


class NotedJournal:
    """Keeps records in memory; may be full."""

    def __init__(self) -> None:
        self.records: list[JournalRecord] = []
        self.is_full = False
        self.on_append: Callable[[], None] = lambda: None

    def append(self, record: JournalRecord) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, "no space left on device")
        self.on_append()
        self.records.append(record)

    def take_back(self) -> None:
        self.records.pop()


class Office:
    """A group coordinator with a journal; ``restart`` is a crash and a recovery."""

    def __init__(self, **settings: Any) -> None:
        self.settings = GroupSettings(**settings)
        self.journal = NotedJournal()
        self.topics = Catalog(a=4)
        self.clock = ManualClock(start_ms=1_000)
        self.coordinator = self._new()

    def _new(self) -> GroupCoordinator:
        return GroupCoordinator(self.journal, self.topics, self.clock, self.settings)

    def joined(self, group_id: str = "g", *, protocol_type: str = "consumer", topics: tuple[str, ...] = ("a",)) -> str:
        """The id of one member of a stable classic group."""
        metadata = b"\0\1" + len(topics).to_bytes(4, "big")
        metadata += b"".join(len(topic).to_bytes(2, "big") + topic.encode() for topic in topics) + bytes(4)
        request = Join(
            member_id="",
            fresh_member_id="member",
            client_id="client",
            client_host="127.0.0.1",
            session_timeout_ms=SESSION_TIMEOUT_MS,
            rebalance_timeout_ms=REBALANCE_TIMEOUT_MS,
            protocol_type=protocol_type,
            protocols=(("range", metadata),),
            requires_known_member_id=False,
            supports_skipping_assignment=True,
        )

        async def story() -> str:
            member = await self.coordinator.classic.join(group_id, request)
            assert member.error is ErrorCode.none, member.error.name
            await self.coordinator.classic.sync(
                group_id, Sync(member_id=member.member_id, generation_id=member.generation_id)
            )
            return member.member_id

        return asyncio.run(asyncio.wait_for(story(), timeout=10))

    def restart(self) -> None:
        self.coordinator = self._new()
        for record in self.journal.records:
            self.coordinator.replay(record)
        self.coordinator.finish_recovery()

    def offsets(self) -> dict[str, Any]:
        """Everything durable about offsets, to compare."""
        groups: dict[str, Group] = self.coordinator._table._groups
        return {
            group_id: (
                dict(g.offsets.committed),
                {p: dict(o) for p, o in g.offsets.pending.items()},
                g.offsets.next_position,
            )
            for group_id, g in groups.items()
        }


class Crew:
    """The members of one consumer group, as they speak: topics by name, partitions as tuples."""

    def __init__(self, office: Office) -> None:
        self.office = office

    @property
    def group(self) -> ConsumerGroup:
        found = self.office.coordinator.group("g")
        assert found is not None
        assert isinstance(found.members, ConsumerGroup)
        return found.members

    def status(self) -> str:
        return self.group.status.value

    def ask(self, member: str, epoch: int, **fields: Any) -> tuple[int, dict[str, tuple[int, ...]] | None]:
        """A heartbeat as a joining member sends it, but for these fields; what it is told."""
        said: dict[str, Any] = {
            "member_id": member,
            "member_epoch": epoch,
            "topics": ("a",),
            "rebalance_timeout_ms": REBALANCE_TIMEOUT_MS,
            "owned": {},
        } | fields
        group_id, may_see = said.pop("group_id", "g"), said.pop("may_see", lambda _: True)
        decision = self.office.coordinator.consumer.heartbeat(group_id, Heartbeat(**said), may_see=may_see)
        if decision.assignment is None:
            return decision.member_epoch, None
        names = {topic_id: self.office.topics.name_of(topic_id) or "gone" for topic_id in decision.assignment}
        return decision.member_epoch, {names[topic_id]: p for topic_id, p in decision.assignment.items()}

    def join(self, member: str, **fields: Any) -> tuple[int, dict[str, tuple[int, ...]] | None]:
        return self.ask(member, 0, **_said(fields))

    def beat(self, member: str, epoch: int, **fields: Any) -> tuple[int, dict[str, tuple[int, ...]] | None]:
        silent = {"topics": None, "rebalance_timeout_ms": None, "owned": None}
        return self.ask(member, epoch, **(silent | _said(fields)))

    def leave(self, member: str, *, for_good: bool = True, **fields: Any) -> tuple[int, Any]:
        return self.beat(member, -1 if for_good else -2, **fields)

    def tick(self, *, after_ms: int, beat: dict[str, int] | None = None) -> None:
        self.office.clock.advance(by_ms=after_ms)
        self.office.coordinator.tick(self.office.clock.now_ms())
        for member, epoch in (beat or {}).items():
            self.beat(member, epoch)

    def settle(self, *members: str, instances: dict[str, str] | None = None) -> None:
        """Let these be members, and heartbeat as clients do, giving up what they must, until the group is stable."""
        instances = instances or {}
        for member in members:
            if self.office.coordinator.group("g") is None or member not in self.group.members:
                self.join(member, instance=instances.get(member))
        for _ in range(20):
            for member in members:
                now = self.group.members[member]
                owned = {topic_id: frozenset(partitions) for topic_id, partitions in now.assigned.items()}
                said = {"topics": None, "rebalance_timeout_ms": None, "owned": owned}
                self.ask(member, now.member_epoch, instance_id=now.instance_id, **said)
        assert self.group.status is ConsumerGroupStatus.STABLE

    def held(self, member: str) -> list[tuple[str, int]]:
        return [
            (self.office.topics.name_of(topic_id) or "gone", partition)
            for topic_id, partitions in self.group.members[member].assigned.items()
            for partition in partitions
        ]


def _said(fields: dict[str, Any]) -> dict[str, Any]:
    said = dict(fields)
    if "instance" in said:
        said["instance_id"] = said.pop("instance")
    if said.get("owned"):
        said["owned"] = {topic_id_of(topic): frozenset(partitions) for topic, partitions in said["owned"].items()}
    return said


@pytest.fixture
def crew() -> Crew:
    return Crew(Office())


@pytest.fixture
def make_crew() -> Callable[..., Crew]:
    return lambda **settings: Crew(Office(**settings))


@pytest.fixture
def meeting() -> Meeting:
    return Meeting()


@pytest.fixture
def make_meeting() -> type[Meeting]:
    return Meeting


@pytest.fixture
def office() -> Office:
    return Office()


@pytest.fixture
def make_office() -> type[Office]:
    return Office
