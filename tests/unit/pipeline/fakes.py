"""Small subclasses and stand-ins of the pipeline's ports, for tests without a broker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

from tallystick.clock import ManualClock
from tallystick.ids import EventId, deterministic_id
from tallystick.pipeline.assignment import Assignment
from tallystick.pipeline.batch import Batch
from tallystick.pipeline.counters import Counters
from tallystick.pipeline.declared import Idempotent
from tallystick.pipeline.kafka_client import Cluster, GroupConsumer, GroupMetadata, Membership, Partition, Producer
from tallystick.pipeline.patience import Patience
from tallystick.pipeline.policy import DEAD_LETTER, ErrorPolicy
from tallystick.pipeline.polled import Message
from tallystick.pipeline.ports import Poisoned
from tallystick.pipeline.records import Output, Record
from tallystick.pipeline.starts import StoredOffset, TopicFacts
from tallystick.pipeline.strategy import Parts
from tallystick.pipeline.work import BatchWork

TRANSACTION_TIMEOUT_MS = 30_000
MEMBER = Membership(GroupMetadata(b"raw-1"), 1, "member-1")


def event_id(name: str) -> EventId:
    return deterministic_id("test", name)


def record(offset: int, value: bytes = b"x", *, topic: str = "in", partition: int = 0) -> Record:
    return Record(topic, partition, offset, b"key", value, (), 1000 + offset, event_id(f"{topic}-{partition}-{offset}"))


def batch(*records: Record) -> Batch:
    return Batch(records, {}, {(one.topic, one.partition): one.offset + 1 for one in records})


class Copy:
    """Writes each record to ``out``; fails on values that start with ``bad``, through ``failing`` on any."""

    idempotent = Idempotent.NO_EFFECT

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.failing: Callable[[Sequence[Record]], None] = lambda _records: None
        self.closed = False

    def process(self, records: Sequence[Record]) -> Sequence[Sequence[Output] | Poisoned]:
        self.calls.append([one.offset for one in records])
        self.failing(records)
        for one in records:
            if (one.value or b"").startswith(b"bad"):
                raise ValueError(f"bad value at {one.offset}")
        return [[Output("out", one.key, one.value, one.event_id)] for one in records]

    def close(self) -> None:
        self.closed = True


class FakeProducer(Producer):
    """Keeps a journal of calls; ``script`` maps a call's name to errors that its next calls raise."""

    def __init__(self, journal: list[str], script: dict[str, list[BaseException]], clock: ManualClock) -> None:
        self._journal = journal
        self._script = script
        self._clock = clock
        self.journal = journal
        self.pending: list[Output] = []
        self.committed: list[Output] = []
        self.lost_connection: str | None = None
        self.slow_ms: dict[str, int] = {}

    @property
    def suspicion(self) -> str | None:
        return self.lost_connection

    def _do(self, name: str) -> None:
        self._journal.append(name)
        self._clock.advance(by_ms=self.slow_ms.pop(name, 0))
        errors = self._script.get(name)
        if errors:
            raise errors.pop(0)

    def init_transactions(self) -> None:
        self._do("init")

    def begin(self) -> None:
        self._do("begin")

    def produce(self, outputs: Iterable[Output]) -> int:
        self._do("produce")
        self.pending = list(outputs)
        return len(self.pending)

    def flush(self) -> None:
        self._do("flush")

    def take_failures(self) -> int:
        return 0

    def raise_if_poisoned(self) -> None:
        errors = self._script.get("delivery")
        if errors:
            raise errors.pop(0)

    def send_offsets(self, offsets: Mapping[Partition, int], notes: Mapping[str, str], membership: Membership) -> None:
        self._do("offsets")

    def commit(self, timeout_ms: int) -> None:
        self._do("commit")
        self.committed += self.pending

    def abort(self, timeout_ms: int) -> None:
        self._do("abort")

    def poll(self) -> None:
        """Nothing to serve."""

    def discard(self) -> None:
        self._journal.append("discard")


class FakeConsumer(GroupConsumer):
    """Only knows its membership and its commits."""

    def __init__(self, journal: list[str], script: dict[str, list[BaseException]]) -> None:
        self._journal = journal
        self._script = script
        self.member = MEMBER

    def membership(self) -> Membership:
        return self.member

    def commit(self, offsets: Mapping[Partition, int], notes: Mapping[str, str]) -> None:
        self._journal.append("commit-offsets")
        errors = self._script.get("commit-offsets")
        if errors:
            raise errors.pop(0)


class FakeAssignment(Assignment):
    """One partition, owned by ``MEMBER``; rewinds are journalled."""

    def __init__(self, journal: list[str], consumer: FakeConsumer) -> None:
        self._journal = journal
        self._consumer = consumer
        self._group = "group"
        self.notes = {}
        self.member_id = ""
        self.owned = frozenset({("in", 0)})
        self.membership = MEMBER

    def rewind(self, among: Callable[[Partition], bool] = lambda _partition: True) -> None:
        self._journal.append("rewind")

    def refresh_notes(self) -> None:
        """Nothing to learn."""


class QuickPatience(Patience):
    """Pauses that take no time, and no stop."""

    def pause(self, attempt: int) -> bool:
        return self.stop.is_set()


class Bench:
    """A strategy's parts, all fake, with one journal of what was done in which order."""

    def __init__(self, policy: ErrorPolicy = DEAD_LETTER, clock: ManualClock | None = None) -> None:
        self.journal: list[str] = []
        self.script: dict[str, list[BaseException]] = {}
        self.clock = clock or ManualClock(start_ms=1_000_000)
        self.processor = Copy()
        self.producers: list[FakeProducer] = []
        self.holder: str | None = MEMBER.member_id
        self.consumer = FakeConsumer(self.journal, self.script)
        self.counters = Counters()
        self.work = BatchWork(self.processor, step="copy", policy=policy, dead_letter_topic="dead")
        self.stop = threading.Event()
        self.parts = Parts(
            positions=FakeAssignment(self.journal, self.consumer),
            make_producer=self._make_producer,
            slot_holder=lambda: self.holder,
            work=self.work,
            counters=self.counters,
            clock=self.clock,
            patience=QuickPatience(self.clock, self.stop, 1000),
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
        )

    @property
    def producer(self) -> FakeProducer:
        return self.producers[-1]

    @property
    def committed(self) -> list[Output]:
        return [output for producer in self.producers for output in producer.committed]

    def _make_producer(self) -> Producer:
        self.producers.append(FakeProducer(self.journal, self.script, self.clock))
        return self.producers[-1]


class FakeMessage:
    """What is read of a client's message; ``size`` is that of its value."""

    def __init__(self, topic: str, partition: int, offset: int, *, size: int = 1) -> None:
        self._place = (topic, partition, offset)
        self._size = size

    def topic(self) -> str:
        return self._place[0]

    def partition(self) -> int:
        return self._place[1]

    def offset(self) -> int:
        return self._place[2]

    def key(self) -> bytes | None:
        return b"key"

    def value(self) -> bytes | None:
        return b"x"

    def headers(self) -> list[tuple[str, bytes]] | None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return (1, 1000 + self.offset())

    def __len__(self) -> int:
        return self._size


def messages(partition: int, offsets: Iterable[int], *, size: int = 1) -> list[Message]:
    return [FakeMessage("in", partition, offset, size=size) for offset in offsets]


class FakeTopics(Cluster):
    """Topic ``in`` with four partitions, and a group with the offsets that it is given."""

    def __init__(self) -> None:
        self.offsets: dict[Partition, StoredOffset] = {}
        self.holders: dict[str, str] = {}
        self.clients: dict[str, str] = {}
        self.deleted: set[str] = set()

    def topics(self, names: Iterable[str]) -> dict[str, TopicFacts]:
        return {name: TopicFacts("topic", 4) for name in names if name not in self.deleted}

    def group_offsets(self, group: str, partitions: Iterable[Partition]) -> dict[Partition, StoredOffset]:
        return {one: self.offsets.get(one, StoredOffset(None)) for one in partitions}

    def instance_holders(self, group: str) -> dict[str, str]:
        return self.holders

    def instance_clients(self, group: str) -> dict[str, str]:
        return self.clients
