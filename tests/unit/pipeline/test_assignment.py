"""What an assignment puts on record before a lane's first transaction (rule 5), and under whose membership (rule 7)."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping

import pytest
from tests.unit.pipeline.fakes import MEMBER, FakeTopics, QuickPatience
from tests.unit.pipeline.lanes_bench import LanesBench, ScriptedConsumer, TickingClock

from tallystick.errors import AbortableError, ConfigurationError, RetriableError
from tallystick.pipeline.assignment import Assignment
from tallystick.pipeline.counters import Counters
from tallystick.pipeline.kafka_client import GroupMetadata, MemberFenced, Membership, Partition
from tallystick.pipeline.patience import GaveUp
from tallystick.pipeline.starts import OffsetNote, StoredOffset, TopicFacts

FACTS = {"in": TopicFacts("topic", 4)}


def stored(offset: int, lanes: int) -> StoredOffset:
    return StoredOffset(offset, OffsetNote("topic", 4, lanes).encode())


def commits(bench: LanesBench) -> list[tuple[dict[tuple[str, int], int], int]]:
    """Offsets, and the lanes in their note."""
    return [(offsets, json.loads(notes["in"]).get("lanes", 1)) for _, offsets, notes in bench.consumer.journal]


def test_more_lanes_than_before_are_on_record_before_the_first_of_them_begins() -> None:
    bench = LanesBench(lanes=4)
    bench.consumer.stored = {("in", 0): stored(5, 2), ("in", 1): stored(7, 4), ("in", 2): StoredOffset(9, "foreign")}
    starts = bench.assignment.assigned([("in", 0), ("in", 1), ("in", 2)])
    assert starts == {("in", 0): 5, ("in", 1): 7, ("in", 2): 9}
    assert commits(bench) == [({("in", 0): 5, ("in", 2): 9}, 4)]


@pytest.mark.parametrize("lanes", [1, 2])
def test_fewer_lanes_carry_the_number_of_the_most_on(lanes: int) -> None:
    bench = LanesBench(lanes=lanes)
    bench.cluster.offsets = {("in", 3): stored(5, 4)}
    assert bench.assignment.lanes_so_far(FACTS) == 4
    bench.consumer.stored = {("in", 0): stored(5, lanes)}
    bench.assignment.assigned([("in", 0)])
    assert json.loads(bench.assignment.notes["in"])["lanes"] == 4
    assert commits(bench) == []


def test_a_partition_from_a_member_with_more_lanes_tells_of_them() -> None:
    bench = LanesBench(lanes=2)
    bench.consumer.stored = {("in", 0): stored(5, 8)}
    bench.assignment.assigned([("in", 0)])
    bench.assignment.revoked([("in", 0)])
    bench.consumer.stored = {("in", 1): stored(5, 2)}
    bench.assignment.assigned([("in", 1)])
    assert json.loads(bench.assignment.notes["in"])["lanes"] == 8


def test_a_source_that_the_client_misses_is_gone_only_if_the_cluster_says_so() -> None:
    bench = LanesBench(lanes=1)
    bench.assignment.raise_if_sources_are_gone()
    bench.consumer.misses_topics = True
    bench.assignment.raise_if_sources_are_gone()
    assert not bench.consumer.misses_topics
    bench.cluster.deleted = {"in"}
    bench.assignment.raise_if_sources_are_gone()
    bench.consumer.misses_topics = True
    with pytest.raises(ConfigurationError, match="'in' was deleted"):
        bench.assignment.raise_if_sources_are_gone()


def test_new_partitions_start_with_the_number_of_lanes_on_record() -> None:
    bench = LanesBench(lanes=3)
    bench.consumer.stored = {("in", 0): StoredOffset(None)}
    bench.consumer.log_start = 11
    bench.assignment.assigned([("in", 0)])
    assert commits(bench) == [({("in", 0): 11}, 3)]
    assert bench.assignment.membership == MEMBER


def moved_on(*, member_id: str = MEMBER.member_id, generation: int) -> Membership:
    return Membership(GroupMetadata(b"raw-2"), generation, member_id)


def assigned_bench(*, epochs_move: bool) -> LanesBench:
    bench = LanesBench(lanes=1)
    bench.consumer.epochs_move = epochs_move
    bench.assignment.assigned([("in", 0)])
    return bench


def test_a_transaction_goes_by_the_newest_epoch_of_the_member_that_has_the_partitions() -> None:
    bench = assigned_bench(epochs_move=True)
    bench.consumer.member = newer = moved_on(generation=MEMBER.generation + 2)
    assert bench.assignment.current_membership() == newer
    assert bench.assignment.membership == newer


@pytest.mark.parametrize(
    ("epochs_move", "member"),
    [
        (False, moved_on(generation=MEMBER.generation + 1)),
        (True, moved_on(generation=MEMBER.generation - 1)),
        (True, moved_on(generation=0)),
        (True, moved_on(generation=-1)),
        (True, moved_on(generation=MEMBER.generation + 1, member_id="another")),
    ],
)
def test_another_member_or_an_epoch_of_before_or_a_new_generation_is_not_gone_on_under(
    member: Membership, *, epochs_move: bool
) -> None:
    bench = assigned_bench(epochs_move=epochs_move)
    bench.consumer.member = member
    with pytest.raises(AbortableError):
        bench.assignment.current_membership()
    assert bench.assignment.membership == MEMBER


def test_once_the_assignment_is_lost_no_epoch_is_gone_on_under() -> None:
    bench = assigned_bench(epochs_move=True)
    bench.assignment.lost([("in", 0)])
    bench.consumer.member = moved_on(generation=MEMBER.generation + 1)
    with pytest.raises(AbortableError):
        bench.assignment.current_membership()
    assert bench.assignment.membership is None


class NeverFetches(ScriptedConsumer):
    """Its fetcher does not start, as that of a fenced consumer."""

    def seek(self, offsets: Mapping[Partition, int]) -> None:
        self.journal.append("seek")
        raise RetriableError("not fetching yet")


def rewinding(cluster: FakeTopics) -> tuple[Assignment, TickingClock]:
    clock = TickingClock(start_ms=0)
    patience = QuickPatience(clock, threading.Event(), 120_000)
    assignment = Assignment(group="g", cluster=cluster, sources=["in"], patience=patience, counters=Counters())
    consumer = NeverFetches()
    consumer.stored = {("in", 0): stored(5, 1)}
    assignment.attach(consumer, lambda _how: None)
    assignment.assigned([("in", 0)])
    return assignment, clock


def test_a_member_that_another_replaced_is_told_so_in_the_first_second_of_a_rewind() -> None:
    cluster = FakeTopics()
    assignment, clock = rewinding(cluster)
    began_ms = clock.now_ms()
    cluster.holders = {"slot": "another"}
    with pytest.raises(MemberFenced):
        assignment.rewind()
    assert clock.now_ms() - began_ms <= 5_000  # of a clock that goes on by a second whenever it is looked at


def test_a_member_that_nobody_replaced_and_that_does_not_fetch_gives_up_after_ten_seconds() -> None:
    cluster = FakeTopics()
    assignment, _clock = rewinding(cluster)
    cluster.holders = {"slot": assignment.member_id}
    with pytest.raises(GaveUp, match="not fetching yet"):
        assignment.rewind()
