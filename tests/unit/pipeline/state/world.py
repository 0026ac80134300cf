"""A small world for one step with state: a log with transactions, workers that die, and nothing of Kafka.

The driver, the state, its files and the restorer's thread are real. Producer, cluster and follower are fakes over
``Log``, which does what a broker does: open transactions hold the last stable offset back, aborted records are never
seen, markers take offsets.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.unit.pipeline.fakes import MEMBER, FakeAssignment, FakeConsumer, event_id

from tallystick.clock import ManualClock
from tallystick.errors import AbortableError, AmbiguousOutcome
from tallystick.pipeline import Context, Store, Topic
from tallystick.pipeline.batch import Batch
from tallystick.pipeline.counters import Counters
from tallystick.pipeline.exactly_once import ExactlyOnce
from tallystick.pipeline.functions import FunctionProcessor
from tallystick.pipeline.kafka_client import Cluster, Followed, Follower, Look, Membership, Partition, Producer
from tallystick.pipeline.patience import Patience
from tallystick.pipeline.policy import ErrorPolicy
from tallystick.pipeline.records import Output, Record
from tallystick.pipeline.starts import TopicFacts
from tallystick.pipeline.state import Changelog, StepState
from tallystick.pipeline.strategy import Parts
from tallystick.pipeline.work import BatchWork

LogRecord = tuple[int, bytes | None, bytes | None, list[tuple[str, bytes]]]
"""Offset, key, value, headers."""

SOURCE = Topic("in", bytes)
COUNTS = Store("counts", key=str, value=int)
CHANGELOG = "app.count.counts.changelog"
WAIT_S = 60


def count(value: bytes, context: Context) -> None:
    """Counts words; ``forget`` deletes its key, ``bad`` changes state and fails."""
    counts = context.state(COUNTS)
    key = (context.key or b"").decode()
    if value == b"forget":
        counts.pop(key, 0)
        return
    counts[key] = counts.get(key, 0) + 1
    if value == b"bad":
        counts["spoiled"] = 1
        raise ValueError("bad")


def folded(inputs: Iterable[tuple[str, bytes]]) -> dict[str, int]:
    """What the state has to be after these inputs."""
    counts: dict[str, int] = {}
    for key, value in inputs:
        if value == b"forget":
            counts.pop(key, None)
        elif value != b"bad":
            counts[key] = counts.get(key, 0) + 1
    return counts


@dataclass
class Transaction:
    committed: bool | None = None
    offsets: dict[Partition, int] = field(default_factory=dict)
    places: set[Partition] = field(default_factory=set)


@dataclass
class Log:
    """Changelogs and committed offsets."""

    topic_id: str = "id-1"
    records: dict[Partition, list[tuple[LogRecord, Transaction]]] = field(default_factory=lambda: defaultdict(list))
    ends: dict[Partition, int] = field(default_factory=lambda: defaultdict(int))
    committed: dict[Partition, int] = field(default_factory=lambda: defaultdict(int))
    open: dict[str, Transaction] = field(default_factory=dict)

    def append(self, transaction: Transaction, output: Output) -> int:
        place = (output.topic, output.partition or 0)
        offset = self.ends[place]
        self.ends[place] += 1
        transaction.places.add(place)
        self.records[place].append(((offset, output.key, output.value, list(output.headers)), transaction))
        return offset

    def end(self, transaction: Transaction, *, commit: bool) -> None:
        transaction.committed = commit
        for place in transaction.places:
            self.ends[place] += 1  # the marker
        if commit:
            self.committed.update(transaction.offsets)

    def last_stable(self, place: Partition) -> int:
        undecided = [record[0] for record, transaction in self.records[place] if transaction.committed is None]
        return min(undecided, default=self.ends[place])

    def read(self, place: Partition, offset: int) -> list[LogRecord]:
        stable = self.last_stable(place)
        return [
            record
            for record, transaction in self.records[place]
            if offset <= record[0] < stable and transaction.committed
        ]

    def compact(self) -> None:
        """Of each key the newest committed record stays, and every tombstone; aborted ones go."""
        for place, records in self.records.items():
            stable = self.last_stable(place)
            newest = {record[1]: record[0] for record, transaction in records if transaction.committed}
            self.records[place] = [
                (record, transaction)
                for record, transaction in records
                if record[0] >= stable or (transaction.committed and newest[record[1]] == record[0])
            ]


class LogProducer(Producer):
    """``faults`` are taken one for each call: "produce", "offsets", "commit", "lost-yes", "lost-no"."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name
        self._transaction = Transaction()
        self.delivered = {}

    @property
    def suspicion(self) -> str | None:
        return None

    def init_transactions(self) -> None:
        if (left := self._world.log.open.pop(self._name, None)) is not None:
            self._world.log.end(left, commit=False)

    def begin(self) -> None:
        self.delivered = {}
        self._transaction = self._world.log.open[self._name] = Transaction()

    def produce(self, outputs: Iterable[Output]) -> int:
        for output in outputs:
            if output.topic == CHANGELOG:
                offset = self._world.log.append(self._transaction, output)
                self.delivered[output.topic, output.partition or 0] = offset
        if self._world.take("produce"):
            raise AbortableError("produce")
        return 0

    def raise_if_poisoned(self) -> None:
        """Nothing fails on the way."""

    def send_offsets(self, offsets: Mapping[Partition, int], notes: Mapping[str, str], membership: Membership) -> None:
        if self._world.take("offsets"):
            raise AbortableError("offsets")
        self._transaction.offsets = dict(offsets)

    def commit(self, timeout_ms: int) -> None:
        log = self._world.log
        if self._world.take("commit"):
            raise AbortableError("commit")
        if self._world.take("lost-no"):
            raise AmbiguousOutcome("no answer, and it did not happen")
        del log.open[self._name]
        log.end(self._transaction, commit=True)
        if self._world.take("lost-yes"):
            raise AmbiguousOutcome("no answer, and it happened")
        if self._world.take("silent"):
            self.delivered = {}

    def abort(self, timeout_ms: int) -> None:
        self.init_transactions()

    def poll(self) -> None:
        """Nothing to serve."""

    def discard(self) -> None:
        """Nothing to let go of."""


class LogCluster(Cluster):
    def __init__(self, world: World) -> None:
        self._world = world

    def topics(self, names: Iterable[str]) -> dict[str, TopicFacts]:
        return {name: TopicFacts(self._world.log.topic_id, self._world.partitions) for name in names}

    def bounds(self, partitions: Iterable[Partition]) -> dict[Partition, tuple[int, int]]:
        return {place: (0, self._world.log.ends[place]) for place in partitions}


class LogFollower(Follower):
    def __init__(self, world: World) -> None:
        self._world = world
        self._at: dict[Partition, int] = {}

    def follow(self, starts: Mapping[Partition, int]) -> None:
        assert not starts.keys() & self._at.keys(), "followed twice"
        self._at.update(starts)

    def leave(self, partitions: Iterable[Partition]) -> None:
        for place in partitions:
            del self._at[place]

    def look(self, timeout_s: float) -> Look:
        found, log = Look(), self._world.log
        for place, offset in self._at.items():
            if records := log.read(place, offset)[: self._world.look_records]:
                offsets, keys, values, headers = zip(*records, strict=True)
                found.records[place] = Followed(offsets, keys, values, headers.__getitem__)
                self._at[place] = records[-1][0] + 1
            else:
                found.ends[place] = self._at[place] = max(offset, log.last_stable(place))
        self._world.on_look()
        return found

    def close(self) -> None:
        """Nothing to close."""


class WorldAssignment(FakeAssignment):
    def __init__(self, on_rewind: Callable[[], None]) -> None:
        super().__init__([], FakeConsumer([], {}))
        self._on_rewind = on_rewind
        self.membership = MEMBER

    def rewind(self, among: Callable[[Partition], bool] = lambda _partition: True) -> None:
        self._on_rewind()


class Worker:
    """One incarnation of a slot's worker; it owns all partitions."""

    def __init__(self, world: World, slot: str, *, folder: Path | None = None, assigned: bool = True) -> None:
        self._world = world
        self._at: dict[Partition, int] = {}
        stop = threading.Event()
        self.patience = Patience(world.clock, stop, 1000)
        self.state = StepState(
            step="count",
            sources=("in",),
            partitions=world.partitions,
            changelogs=(Changelog(COUNTS, CHANGELOG),),
            folder=folder or world.folder / slot,
            cluster_id="cluster",
            cluster=LogCluster(world),
            patience=self.patience,
            make_follower=lambda: LogFollower(world),
        )
        self.counters = Counters()
        lane = self.state.lane(0, 1)
        policy = ErrorPolicy(tries=2)
        self.strategy = ExactlyOnce(
            Parts(
                positions=WorldAssignment(self._rewind),
                make_producer=lambda: LogProducer(world, slot),
                slot_holder=lambda: None,
                work=BatchWork(
                    FunctionProcessor("count", [SOURCE], count, policy, lane),
                    step="count",
                    policy=policy,
                    dead_letter_topic="dead",
                ),
                counters=self.counters,
                clock=world.clock,
                patience=Patience(world.clock, _set(), 1000),
                transaction_timeout_ms=30_000,
                state=lane,
            )
        )
        self.strategy.start()
        if assigned:
            self.assign()

    def assign(self) -> None:
        self.strategy.changed("assigned")
        self.state.changed(self._world.sources)
        for one in list(self.state._restorations.values()):
            assert one.over.wait(WAIT_S)
        assert self.state.released() == self._world.sources
        self._rewind()

    def revoke(self) -> None:
        self.strategy.changed("revoking")
        self.strategy.changed("revoked")
        self.state.changed(frozenset())

    def deliver(self, count_records: int) -> None:
        """The next records of each partition, as one batch; twice if it was aborted."""
        records: list[Record] = []
        for place in sorted(self._world.sources):
            at = self._at[place]
            records += [self._world.record(place, offset) for offset in range(at, at + count_records)]
            self._at[place] = at + count_records
        positions = {(one.topic, one.partition): one.offset + 1 for one in records}
        self.strategy.deliver(Batch(tuple(records), {}, positions))

    def kill(self) -> None:
        """As ``kill -9`` leaves it: nothing is written any more. The kernel frees the lock and the files."""
        for one in self.state._open.values():
            one.closed = True  # whatever is still called writes nothing
            one._file.close()
        self.state._open.clear()
        self.state.close()

    def close(self) -> None:
        self.strategy.close()
        self.state.close()

    def counts(self, number: int) -> dict[str, int]:
        view = self.state._states[number].view(COUNTS)
        return {str(key): int(value) for key, value in view.items()}

    def _rewind(self) -> None:
        self._at = {place: self._world.log.committed[place] for place in self._world.sources}


class World:
    """Partitions of a source that never ends, and what was committed of it."""

    def __init__(self, folder: Path, *, partitions: int = 2, words: Callable[[int, int], tuple[str, bytes]]) -> None:
        self.folder = folder
        self.partitions = partitions
        self.words = words
        self.log = Log()
        self.clock = ManualClock(start_ms=1_000_000)
        self.faults: list[str] = []
        self.look_records = 3
        self.on_look: Callable[[], None] = lambda: None
        self.sources = frozenset(("in", number) for number in range(partitions))

    def record(self, place: Partition, offset: int) -> Record:
        key, value = self.words(place[1], offset)
        return Record(*place, offset, key.encode(), value, (), 1000 + offset, event_id(f"{place}-{offset}"))

    def take(self, fault: str) -> bool:
        if fault in self.faults:
            self.faults.remove(fault)
            return True
        return False

    def expected(self, number: int) -> dict[str, int]:
        return folded(self.words(number, offset) for offset in range(self.log.committed["in", number]))


def _set() -> threading.Event:
    """So that no pause takes time."""
    event = threading.Event()
    event.set()
    return event
