"""A node at work on a traced disk: what its clients do, step by step, and its durable state to compare by.

Owns: the steps, the state. Must not know: where the node is killed, what is expected then.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import Phase
from hypothesis import strategies as st
from structlog.testing import capture_logs
from tests.support.wire_producer import TV1, TV2, WireProducer
from tests.unit.broker.in_process import InProcess, ask, opened

from tallystick.broker.fsync_policy import FsyncPolicy
from tallystick.broker.groups import GroupCoordinator
from tallystick.broker.groups.classic.members import Join, Sync
from tallystick.broker.groups.consumer.group import ConsumerGroup
from tallystick.broker.groups.consumer.requests import Heartbeat
from tallystick.broker.groups.records import CommittedOffset
from tallystick.broker.groups.requests.offsets import Committer
from tallystick.broker.log.partition_log import PartitionLog
from tallystick.broker.log.settings import LogSettings
from tallystick.broker.node import Node
from tallystick.broker.topics import Topics
from tallystick.broker.transactions import TransactionCoordinator
from tallystick.clock import ManualClock
from tallystick.wire.errors import ApiError

SMALL_SEGMENTS: Final = LogSettings(log_segment_bytes=400, log_index_interval_bytes=100)
START_MS: Final = 1_000
TIMEOUT_MS: Final = 60_000
TOPICS: Final = ("a", "b")

FAST_FOLDER = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - the parent of a folder of our own

State = dict[str, Any]
"""Everything that a start must bring back, by what it is of."""


@contextmanager
def folders() -> Iterator[Path]:
    with capture_logs(), tempfile.TemporaryDirectory(dir=FAST_FOLDER) as made:
        yield Path(made)


def everything_in(log: PartitionLog) -> bytes:
    """All batches."""
    batches, offset = b"", log.start_offset
    while offset < log.end_offset:
        found = log.read(offset, max_bytes=1 << 20, limit_offset=log.end_offset)
        batches += found.data
        offset = found.next_offset
    return batches


def durable_state(topics: Topics, transactions: TransactionCoordinator, groups: GroupCoordinator) -> State:
    state: State = {"transactions": sorted(transactions.snapshot(), key=repr)}
    state["groups"] = sorted(groups.snapshot(), key=repr)
    state["topics"] = sorted(
        (t.name, str(t.topic_id), len(t.partitions), sorted(t.configs.items())) for t in topics.all()
    )
    for topic in topics.all():
        for partition in topic.partitions:
            log = partition.log
            state[f"{topic.name}-{partition.index}"] = {
                "offsets": (log.start_offset, log.end_offset),
                "visible": (partition.high_watermark, partition.last_stable_offset),
                "batches": hashlib.sha256(everything_in(log)).hexdigest(),
                "producers": sorted(partition.producers.entries(), key=lambda entry: entry.producer_id),
                "aborted": log.aborted_between(0, log.end_offset),
                "max_timestamp": log.max_timestamp(),
            }
    return state


def state_of(node: Node) -> State:
    return durable_state(node.partitions, node.transactions, node.groups)


@contextmanager
def recovered(
    folder: Path, *, fsync: FsyncPolicy = FsyncPolicy.NEVER, now_ms: int = START_MS
) -> Iterator[tuple[State, Node]]:
    """What a start finds in a folder, before it completes what was left half done, and the node after that."""
    found: list[State] = []
    finish = TransactionCoordinator.finish_recovery

    def look_and_finish(self: TransactionCoordinator) -> None:
        completion = self._completion
        assert isinstance(completion._partitions, Topics)
        assert isinstance(completion._groups, GroupCoordinator)
        found.append(durable_state(completion._partitions, self, completion._groups))
        finish(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionCoordinator, "finish_recovery", look_and_finish)
        with opened(folder, fsync=fsync, clock=ManualClock(start_ms=now_ms), log_settings=SMALL_SEGMENTS) as node:
            yield found[0], node


def check_settled(node: Node) -> None:
    """What is true after any start: nothing is half done."""
    open_in: dict[int, set[tuple[str, int]]] = {}
    for transaction in node.transactions.transactions():
        assert transaction.status.value in {"Empty", "Ongoing", "CompleteCommit", "CompleteAbort"}
        if transaction.status.value == "Ongoing":
            open_in[transaction.producer_id] = set(transaction.partitions)
    for topic in node.partitions.all():
        for partition in topic.partitions:
            opened_here = [e for e in partition.producers.entries() if e.transaction_first_offset is not None]
            for entry in opened_here:
                assert (topic.name, partition.index) in open_in.get(entry.producer_id, set()), entry
            assert partition.last_stable_offset == min(
                (e.transaction_first_offset for e in opened_here if e.transaction_first_offset is not None),
                default=partition.high_watermark,
            )
    for record in node.groups.snapshot():
        if type(record).__name__ == "OffsetsPending":
            assert record.producer_id in open_in, record  # type: ignore[attr-defined]
        if type(record).__name__ == "OffsetsCommitted":
            for offset in record.offsets:  # type: ignore[attr-defined]
                assert node.partitions.exists(offset.topic, offset.partition), offset


@dataclass
class World:
    """A node and its clients. ``restart`` ends it in order and opens it again; a refused request is no failure."""

    folder: Path
    reopen: Callable[[], Node]
    node: Node
    clock: ManualClock
    producers: dict[str, WireProducer] = field(default_factory=dict)
    values: int = 0

    def producer(self, name: str, versions: dict[str, int]) -> WireProducer:
        if name not in self.producers or self.producers[name].versions != versions:
            self.start(name, versions)
        return self.producers[name]

    def start(self, name: str, versions: dict[str, int]) -> None:
        self.producers[name] = WireProducer(InProcess(self.node), name, dict(versions), patient=False)
        self.producers[name].init()

    def take(self, step: tuple[Any, ...]) -> None:  # noqa: C901 - one case for each step
        node, topics = self.node, self.node.partitions
        match step:
            case ("write", name, version, topic, partition):
                producer = self.producer(name, TV1 if version == 1 else TV2)
                if version == 1:
                    producer.add_partitions(topic, partition)
                self.values += 1
                producer.produce(topic, b"%d" % self.values, partition=partition)
            case ("offset", name, version, topic, offset):
                producer = self.producer(name, TV1 if version == 1 else TV2)
                if version == 1:
                    producer.add_offsets("g")
                producer.commit_offset("g", topic, offset)
            case ("end", name, commit):
                if name in self.producers:
                    self.producers[name].end(commit=commit)
            case ("start", name, version):
                self.start(name, TV1 if version == 1 else TV2)
            case ("produce", topic, partition):
                if "" not in self.producers:
                    self.producers[""] = WireProducer(InProcess(node), None, dict(TV2), patient=False)
                    self.producers[""].init()
                self.values += 1
                self.producers[""].produce(topic, b"%d" % self.values, partition=partition, transactional=False)
            case ("commit", group, topic, offset):
                node.groups.offsets.commit(
                    group, Committer(), [CommittedOffset(topic=topic, partition=0, offset=offset)]
                )
            case ("delete offset", group, topic):
                node.groups.offsets.delete(group, [(topic, 0)])
            case ("delete group", group):
                node.groups.delete(group)
            case ("member", group):
                asyncio.run(asyncio.wait_for(_visit(node.groups, group), 10))
            case ("heartbeat", member, leaves):
                _tried(lambda: _beat(node.groups, member, leaves=leaves))
            case ("create", topic, partitions):
                _tried(lambda: topics.create(topic, partition_count=partitions))
            case ("grow", topic, partitions):
                _tried(lambda: topics.grow(topic, partition_count=partitions))
            case ("configure", topic, value):
                _tried(lambda: topics.configure(topic, {"retention.ms": value}))
            case ("delete topic", topic):
                ask(node, "delete_topics", 5, topic_names=(topic,), timeout=timedelta(seconds=1))
            case ("checkpoint",):
                topics.checkpoint()
            case ("compact",):
                node.compact_above_bytes = 0
                node.tick()
            case ("time passes", by_ms):
                self.clock.advance(by_ms=by_ms)
                node.tick()
            case ("restart",):
                self.node = self.reopen()
                for producer in self.producers.values():
                    producer.client = InProcess(self.node)


def _tried(change: Callable[[], object]) -> None:
    with suppress(ApiError):
        change()


async def _visit(groups: GroupCoordinator, group: str) -> None:
    """A member that joins, gets an assignment and leaves."""
    joined = await groups.classic.join(
        group,
        Join(
            member_id="",
            fresh_member_id="m-1",
            client_id="c",
            client_host="h",
            session_timeout_ms=10_000,
            rebalance_timeout_ms=10_000,
            protocol_type="consumer",
            protocols=(("range", b"all"),),
            requires_known_member_id=False,
            supports_skipping_assignment=False,
        ),
    )
    await groups.classic.sync(
        group,
        Sync(member_id=joined.member_id, generation_id=joined.generation_id, assignments=((joined.member_id, b"one"),)),
    )
    groups.classic.leave(group, [(joined.member_id, None)])


def _beat(groups: GroupCoordinator, member_id: str, *, leaves: bool) -> None:
    """A member of a consumer group joins, goes on with all that it was given, or leaves."""
    found = groups.group("k")
    members = found.members.members if found is not None and isinstance(found.members, ConsumerGroup) else {}
    known = members.get(member_id)
    joins = known is None
    request_ = Heartbeat(
        member_id=member_id,
        member_epoch=0 if known is None else -1 if leaves else known.member_epoch,
        rebalance_timeout_ms=TIMEOUT_MS if joins else None,
        topics=("a",) if joins else None,
        regex="b|c" if joins else None,
        owned={} if known is None else {topic_id: frozenset(part) for topic_id, part in known.assigned.items()},
    )
    groups.consumer.heartbeat("k", request_, may_see=lambda _: True)


_names = st.sampled_from(["t", "u"])
_versions = st.sampled_from([1, 2])
_topics = st.sampled_from(TOPICS)
_partitions = st.integers(0, 1)
_often = st.one_of(
    st.tuples(st.just("write"), _names, _versions, _topics, _partitions),
    st.tuples(st.just("write"), _names, _versions, _topics, _partitions),
    st.tuples(st.just("offset"), _names, _versions, _topics, st.integers(0, 9)),
    st.tuples(st.just("end"), _names, st.booleans()),
    st.tuples(st.just("produce"), _topics, _partitions),
)
_seldom = st.one_of(
    st.tuples(st.just("start"), _names, _versions),
    st.tuples(st.just("commit"), st.sampled_from(["g", "h"]), _topics, st.integers(0, 9)),
    st.tuples(st.just("delete offset"), st.sampled_from(["g", "h"]), _topics),
    st.tuples(st.just("delete group"), st.sampled_from(["g", "h"])),
    st.tuples(st.just("member"), st.just("h")),
    st.tuples(st.just("heartbeat"), st.sampled_from(["m", "n"]), st.booleans()),
    st.tuples(st.just("create"), st.just("c"), st.integers(1, 2)),
    st.tuples(st.just("grow"), _topics, st.integers(3, 4)),
    st.tuples(st.just("configure"), _topics, st.sampled_from(["1000", "2000"])),
    st.tuples(st.just("delete topic"), st.sampled_from(["b", "c"])),
    st.tuples(st.just("checkpoint")),
    st.tuples(st.just("compact")),
    st.tuples(st.just("time passes"), st.sampled_from([1, TIMEOUT_MS])),
    st.tuples(st.just("restart")),
)
WITHOUT_SHRINKING: Final = (Phase.explicit, Phase.reuse, Phase.generate)
"""An example takes a second: a failing script is told as it is."""
SCRIPTS: Final = st.lists(st.one_of(_often, _often, _seldom), min_size=4, max_size=14)
EVERYTHING: Final[list[tuple[Any, ...]]] = [
    ("produce", "a", 0),
    ("write", "t", 2, "a", 0),
    ("write", "t", 2, "a", 1),
    ("offset", "t", 2, "a", 1),
    ("write", "u", 1, "b", 0),
    ("end", "t", True),
    ("produce", "a", 0),
    ("offset", "u", 1, "b", 2),
    ("checkpoint",),
    ("end", "u", False),
    ("write", "t", 2, "a", 0),
    ("write", "t", 2, "b", 1),
    ("end", "t", False),
    ("write", "t", 2, "b", 1),
    ("start", "t", 2),
    ("create", "c", 1),
    ("grow", "a", 3),
    ("configure", "a", "1000"),
    ("commit", "h", "c", 3),
    ("member", "h"),
    ("heartbeat", "m", False),
    ("heartbeat", "n", False),
    ("heartbeat", "m", False),
    ("compact",),
    ("heartbeat", "m", False),
    ("heartbeat", "n", False),
    ("write", "u", 1, "c", 0),
    ("delete topic", "c"),
    ("heartbeat", "n", False),
    ("restart",),
    ("heartbeat", "m", True),
    ("write", "t", 2, "a", 1),
    ("produce", "a", 0),
    ("time passes", TIMEOUT_MS),
    ("delete offset", "g", "a"),
    ("delete group", "h"),
]
"""Every kind of step once at least, transactions that end in each way, and segments that roll."""


@contextmanager
def world(folder: Path, *, fsync: FsyncPolicy = FsyncPolicy.NEVER) -> Iterator[World]:
    """A node with both topics, closed in the end."""
    clock = ManualClock(start_ms=START_MS)
    running: list[Any] = []

    def reopen() -> Node:
        while running:
            running.pop().__exit__(None, None, None)
        entered = opened(folder, fsync=fsync, clock=clock, log_settings=SMALL_SEGMENTS)
        node = entered.__enter__()
        running.append(entered)
        return node

    made = World(folder, reopen, reopen(), clock)
    try:
        yield made
    finally:
        while running:
            running.pop().__exit__(None, None, None)
