"""Lanes over fakes: the test is the polling thread, the lanes are real threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from tests.unit.pipeline.fakes import MEMBER, FakeProducer, FakeTopics

from tallystick.clock import Clock, ManualClock
from tallystick.pipeline.assignment import Assignment
from tallystick.pipeline.batch import EventIds
from tallystick.pipeline.counters import Counters
from tallystick.pipeline.guarantee import Guarantee
from tallystick.pipeline.kafka_client import GroupConsumer, Membership, Partition, Producer
from tallystick.pipeline.lanes import Lanes
from tallystick.pipeline.making import Making
from tallystick.pipeline.patience import Patience
from tallystick.pipeline.plan import LoopPlan
from tallystick.pipeline.policy import DEAD_LETTER
from tallystick.pipeline.polled import Message
from tallystick.pipeline.records import Output, Record
from tallystick.pipeline.starts import StoredOffset

WAIT_S = 60
SETTINGS: dict[str, Any] = {"bootstrap.servers": "nobody:1", "group.id": "g", "max.poll.interval.ms": 300_000}


class TickingClock(ManualClock):
    """A second passes with each look; ``on_look`` is called with it."""

    on_look: Callable[[], None] = staticmethod(lambda: None)

    def monotonic_ms(self) -> int:
        self.on_look()
        self.advance(by_ms=1000)
        return super().monotonic_ms()


class ScriptedConsumer(GroupConsumer):
    """Gives the lists of ``polls``, one for each call; an entry may be a function that returns the list."""

    def __init__(self) -> None:
        self.polls: list[list[Message] | Callable[[], list[Message]]] = []
        self.asked: list[int] = []
        self.journal: list[Any] = []
        self.member = MEMBER
        self.stored: dict[Partition, StoredOffset] = {}
        self.log_start = 0

    def poll_available(self, max_records: int, timeout_ms: int) -> list[Message]:
        self.asked.append(max_records)
        given = self.polls.pop(0) if self.polls else []
        return given() if callable(given) else given

    def membership(self) -> Membership:
        return self.member

    def earliest(self, partition: Partition) -> int:
        return self.log_start

    def committed(self, partitions: Iterable[Partition]) -> dict[Partition, StoredOffset]:
        return {one: self.stored.get(one, StoredOffset(0)) for one in partitions}

    def commit(self, offsets: Mapping[Partition, int], notes: Mapping[str, str]) -> None:
        self.journal.append(("commit", dict(offsets), dict(notes)))

    def seek(self, offsets: Mapping[Partition, int]) -> None:
        self.journal.append(("seek", dict(offsets)))

    def pause(self, partitions: Iterable[Partition]) -> None:
        if mine := list(partitions):
            self.journal.append(("pause", mine))

    def resume(self, partitions: Iterable[Partition]) -> None:
        if mine := list(partitions):
            self.journal.append(("resume", mine))


class GatedCopy:
    """One for each lane, all sharing the gates: a batch of a partition waits until its gate is open."""

    def __init__(self, gates: dict[int, threading.Event], failing: dict[int, list[BaseException]]) -> None:
        self._gates = gates
        self._failing = failing
        self.inside: dict[int, threading.Event] = {number: threading.Event() for number in range(8)}
        self.closed = 0

    def process(self, records: Sequence[Record]) -> Sequence[Sequence[Output]]:
        number = records[0].partition
        self.inside[number].set()
        if number in self._gates:
            assert self._gates[number].wait(WAIT_S)
        if errors := self._failing.get(number):
            raise errors.pop(0)
        return [[Output("out", one.key, one.value, one.event_id)] for one in records]

    def close(self) -> None:
        self.closed += 1


@dataclass(frozen=True, kw_only=True)
class FakeMaking(Making):
    """Makes fake producers, and keeps them by lane."""

    made: dict[int, list[FakeProducer]] = field(default_factory=dict)
    script: dict[int, dict[str, list[BaseException]]] = field(default_factory=dict)

    def producer(self, lane: int) -> Producer:
        made = FakeProducer([], self.script.setdefault(lane, {}), ManualClock())
        self.made.setdefault(lane, []).append(made)
        return made


class LanesBench:
    """``lanes`` lanes over partitions 0 to 3 of topic ``in``; ``turn`` is what the polling thread does."""

    def __init__(self, lanes: int = 2, *, clock: Clock | None = None, batch_records: int = 1) -> None:
        self.gates: dict[int, threading.Event] = {}
        self.failing: dict[int, list[BaseException]] = {}
        self.processor = GatedCopy(self.gates, self.failing)
        self.consumer = ScriptedConsumer()
        self.cluster = FakeTopics()
        self.clock = clock or ManualClock(start_ms=1_000_000)
        stop = threading.Event()
        stop.set()  # so that no pause takes time
        self.making = FakeMaking(
            plan=LoopPlan(
                step="copy",
                sources=("in",),
                guarantee=Guarantee.EXACTLY_ONCE,
                factory=lambda: self.processor,
                policy=DEAD_LETTER,
                dead_letter_topic="dead",
                consumer={},
                producer={},
                lanes=lanes,
                batch_records=batch_records,
                commit_interval_ms=1,
            ),
            consumer_settings=dict(SETTINGS),
            producer_settings={},
            cluster=self.cluster,
            clock=self.clock,
            patience=Patience(self.clock, stop, 1000),
        )
        counters = Counters()
        self.assignment = Assignment(
            group="g",
            cluster=self.cluster,
            sources=["in"],
            patience=self.making.patience,
            counters=counters,
            lanes=lanes,
        )
        self.lanes = Lanes(self.making, self.assignment, EventIds("cluster", {"in": "topic"}), counters)
        self.assignment.attach(self.consumer, self.lanes.changed)

    def __enter__(self) -> Self:
        self.lanes.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for gate in self.gates.values():
            gate.set()
        self.lanes.close()

    @property
    def counters(self) -> Counters:
        return Counters.total(self.lanes.counters)

    def assign(self, partitions: Iterable[int] = range(4)) -> None:
        self.assignment.assigned([("in", number) for number in partitions])

    def revoke(self) -> None:
        """All, as an assignor does that is not cooperative."""
        self.assignment.revoked(sorted(self.assignment.owned))

    def poll(self, *given: list[Message] | Callable[[], list[Message]]) -> None:
        """One turn for each list."""
        self.consumer.polls += given
        while self.consumer.polls:
            self.lanes.turn()

    def turn_until(self, done: Callable[[], bool]) -> None:
        """Turns until it is so; bounded, and far above what it takes."""
        for _ in range(10_000):
            if done():
                return
            self.lanes.turn()
            threading.Event().wait(0.001)
        raise AssertionError("it did not come to that")

    def committed(self, lane: int) -> int:
        """Number of outputs that the lane's producers committed."""
        return sum(len(producer.committed) for producer in self.making.made.get(lane, []))

    def journal(self, lane: int) -> list[str]:
        return [call for producer in self.making.made.get(lane, []) for call in producer.journal]
