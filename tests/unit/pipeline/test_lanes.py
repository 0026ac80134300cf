"""Lanes over fakes: who gets which messages, and what a rebalance, a failure or the end waits for."""

from __future__ import annotations

import threading

import pytest
from tests.unit.pipeline.fakes import MEMBER, messages
from tests.unit.pipeline.lanes_bench import WAIT_S, LanesBench, TickingClock

from tallystick.errors import AbortableError, AmbiguousOutcome, FatalError, FencedError
from tallystick.pipeline.intake import MAX_BYTES
from tallystick.pipeline.kafka_client import GroupMetadata, Membership
from tallystick.pipeline.starts import StoredOffset


def test_a_partition_goes_to_the_lane_of_its_number_and_each_lane_commits_for_itself() -> None:
    with LanesBench(lanes=2) as bench:
        bench.assign()
        bench.poll(messages(0, [0]) + messages(1, [0]) + messages(2, [0]) + messages(3, [0, 1]))
        bench.turn_until(lambda: bench.counters.commits == 5)
    assert (bench.committed(0), bench.committed(1)) == (2, 3)


def test_a_lane_that_is_at_work_keeps_no_other_waiting() -> None:
    with LanesBench(lanes=2) as bench:
        bench.gates[0] = threading.Event()
        bench.assign()
        bench.poll(messages(0, [0]) + messages(1, range(5)))
        bench.turn_until(lambda: bench.committed(1) == 5)
        assert bench.committed(0) == 0


def test_a_revocation_waits_for_the_transactions_that_are_open() -> None:
    clock = TickingClock()
    with LanesBench(lanes=2, clock=clock) as bench:
        gate = bench.gates[0] = threading.Event()
        bench.assign()
        bench.poll(messages(0, [0, 1]))
        assert bench.processor.inside[0].wait(WAIT_S)
        clock.on_look = gate.set  # the first look of the waiting polling thread opens the gate
        bench.revoke()
        assert bench.committed(0) == 1  # and the second message, which waited, belongs to the next owner
        assert bench.assignment.owned == frozenset()
        bench.turn_until(lambda: bench.journal(0)[-1] == "commit")
    assert bench.committed(0) == 1


def test_a_revocation_waits_no_longer_than_a_transaction_may_take_and_then_only_the_abort_is_left() -> None:
    with LanesBench(lanes=2, clock=TickingClock()) as bench:
        gate = bench.gates[0] = threading.Event()
        bench.assign()
        bench.poll(messages(0, [0]))
        assert bench.processor.inside[0].wait(WAIT_S)
        bench.revoke()
        gate.set()
        bench.turn_until(lambda: "abort" in bench.journal(0))
    assert bench.committed(0) == 0
    assert "offsets" not in bench.journal(0)


def test_a_transaction_of_a_lost_assignment_aborts_even_if_the_partition_is_back() -> None:
    with LanesBench(lanes=2) as bench:
        gate = bench.gates[0] = threading.Event()
        bench.assign()
        bench.poll(messages(0, [0]))
        assert bench.processor.inside[0].wait(WAIT_S)
        bench.assignment.lost(sorted(bench.assignment.owned))
        bench.consumer.member = Membership(GroupMetadata(b"raw-2"), 2, "member-2")
        bench.assign()
        gate.set()
        bench.turn_until(lambda: "abort" in bench.journal(0))
        assert bench.committed(0) == 0
        bench.poll(messages(0, [0]))
        bench.turn_until(lambda: bench.committed(0) == 1)


def test_a_lane_that_waits_for_its_rewind_holds_no_revocation_up() -> None:
    with LanesBench(lanes=2) as bench:
        bench.assign()
        bench.making.script[0]["offsets"] = [AbortableError("lost")]
        bench.poll(messages(0, [0]))
        while bench.journal(0)[-1] != "abort":
            threading.Event().wait(0.001)
        bench.revoke()  # a clock that stands still: it would wait for ever
        bench.turn_until(lambda: bench.counters.aborts == {"offsets": 1})


def test_an_abort_takes_its_own_lanes_partitions_back_and_no_others() -> None:
    with LanesBench(lanes=2) as bench:
        bench.assign()
        bench.making.script[1]["offsets"] = [AbortableError("lost")]
        bench.poll(messages(1, [0, 1, 2]) + messages(0, [0]))
        bench.turn_until(lambda: len(bench.consumer.journal) == 2 and bench.committed(0) == 1)
        assert bench.consumer.journal[1] == ("seek", {("in", 1): 0, ("in", 3): 0})
        assert bench.committed(1) == 0  # the messages that waited were dropped: they come again
        bench.poll(messages(1, [0, 1, 2]))
        bench.turn_until(lambda: bench.committed(1) == 3)
    assert bench.counters.aborts == {"offsets": 1}
    assert bench.counters.records_replayed == 1


def test_messages_of_a_poll_with_a_rebalance_in_it_reach_no_lane() -> None:
    with LanesBench(lanes=2) as bench:
        bench.assign()
        bench.consumer.journal.clear()

        def rebalance() -> list[object]:
            bench.revoke()
            bench.assign([0, 1])
            return [*messages(0, [0]), *messages(0, [5])]

        bench.poll(rebalance)  # type: ignore[arg-type]
        assert ("seek", {("in", 0): 0, ("in", 1): 0}) in bench.consumer.journal
        bench.poll(messages(0, [0]))
        bench.turn_until(lambda: bench.committed(0) == 1)


def test_a_lane_that_is_full_has_its_partitions_paused_until_half_of_it_is_done() -> None:
    with LanesBench(lanes=2) as bench:
        gate = bench.gates[0] = threading.Event()
        bench.assign()
        bench.consumer.journal.clear()
        bench.poll(messages(0, range(4), size=MAX_BYTES // 2), [])
        assert bench.consumer.journal == [("pause", [("in", 0), ("in", 2)])]
        gate.set()
        bench.turn_until(lambda: len(bench.consumer.journal) == 2)
        assert bench.consumer.journal[1] == ("resume", [("in", 0), ("in", 2)])


def test_a_partition_that_was_given_up_paused_goes_on_when_it_is_back() -> None:
    with LanesBench(lanes=2) as bench:
        gate = bench.gates[0] = threading.Event()
        bench.assign()
        bench.poll(messages(0, range(4), size=MAX_BYTES // 2), [])
        gate.set()
        bench.revoke()
        bench.assign([0, 1])
        bench.consumer.journal.clear()
        bench.poll([])
        assert bench.consumer.journal == [("resume", [("in", 0)])]


def test_partitions_that_stay_with_a_member_are_taken_back_to_their_committed_offsets_by_a_rebalance() -> None:
    with LanesBench(lanes=2) as bench:
        bench.assign([0, 1])
        bench.gates[0] = threading.Event()
        bench.poll(messages(0, range(3)) + messages(1, [0]))
        assert bench.processor.inside[0].wait(WAIT_S)
        bench.gates[0].set()
        bench.assignment.revoked([("in", 1)])
        assert bench.assignment.owned == {("in", 0)}
        bench.consumer.stored = {("in", 0): StoredOffset(bench.committed(0))}
        bench.consumer.journal.clear()
        bench.poll([])
        assert bench.consumer.journal == [("seek", {("in", 0): bench.committed(0)})]
        bench.poll(messages(0, range(bench.committed(0), 3)))
        bench.turn_until(lambda: bench.committed(0) == 3)
        bench.assign([2])  # a new generation, and the partition that stayed goes on in it
        assert bench.assignment.owned == {("in", 0), ("in", 2)}
        bench.poll(messages(2, [0]))
        bench.turn_until(lambda: bench.committed(0) == 4)
    assert bench.counters.aborts == {}


def test_an_eager_rebalance_needs_no_rewind() -> None:
    with LanesBench(lanes=2) as bench:
        bench.assign([0, 1])
        bench.revoke()
        bench.assign([0, 1])
        bench.consumer.journal.clear()
        bench.poll([])
        assert bench.consumer.journal == []


def test_when_no_lane_needs_messages_no_more_than_one_is_polled() -> None:
    with LanesBench(lanes=2) as bench:
        bench.gates[0] = bench.gates[1] = threading.Event()
        bench.assign([0, 1])
        bench.poll(messages(0, range(200)) + messages(1, range(200)), [])
        assert bench.consumer.asked[0] > 1
        assert bench.consumer.asked[1] == 1


def test_what_fails_one_lane_is_raised_where_the_step_runs_and_ends_the_others() -> None:
    with LanesBench(lanes=2) as bench:
        bench.assign()
        bench.making.script[1]["commit"] = [FencedError("newer owner")]
        bench.poll(messages(0, [0]) + messages(1, [0]))
        with pytest.raises(FencedError, match="newer owner"):
            bench.turn_until(lambda: False)
    assert bench.journal(0)[-1] == "discard"
    assert bench.journal(1)[-2:] == ["commit", "discard"]
    assert bench.processor.closed == 2


def test_a_lane_that_cannot_settle_its_past_keeps_the_step_from_starting() -> None:
    bench = LanesBench(lanes=2)
    bench.making.script[1] = {"init": [FencedError("newer owner")]}
    with pytest.raises(FencedError):
        bench.lanes.start()
    bench.lanes.close()


def test_all_lanes_have_settled_their_past_before_anything_is_polled() -> None:
    with LanesBench(lanes=3) as bench:
        assert [bench.journal(number) for number in range(3)] == [["init"]] * 3


def test_the_end_lets_a_lane_finish_its_transaction_and_begin_no_other() -> None:
    with LanesBench(lanes=2) as bench:
        bench.gates[0] = threading.Event()  # opened at the end of the block, before ``close``
        bench.assign()
        bench.poll(messages(0, range(3)))
        assert bench.processor.inside[0].wait(WAIT_S)
    assert bench.journal(0) == ["init", "begin", "produce", "offsets", "commit", "discard"]


def test_a_lane_that_stands_still_stops_the_worker_as_a_poll_that_never_comes_would() -> None:
    clock = TickingClock()
    with LanesBench(lanes=2, clock=clock) as bench:
        bench.gates[0] = threading.Event()
        bench.assign()
        bench.poll(messages(0, [0]))
        assert bench.processor.inside[0].wait(WAIT_S)
        clock.advance(by_ms=300_000)
        with pytest.raises(FatalError, match=r"max\.poll\.interval\.ms"):
            bench.lanes.turn()


@pytest.mark.parametrize("rejoined", [True, False])
def test_a_new_producer_of_a_lane_is_refused_only_if_another_member_really_holds_the_slot(*, rejoined: bool) -> None:
    with LanesBench(lanes=2) as bench:
        bench.assign()
        bench.making.script[0]["commit"] = [AmbiguousOutcome("no answer")]
        bench.making.consumer_settings["group.instance.id"] = "slot"  # type: ignore[index]
        bench.cluster.holders["slot"] = "member-2"
        if rejoined:  # and no call-back has told of it yet
            bench.consumer.member = Membership(GroupMetadata(b"raw-2"), 2, "member-2")
        bench.poll(messages(0, [0]))
        if rejoined:
            bench.turn_until(lambda: bench.journal(0).count("init") == 2)
        else:
            with pytest.raises(FencedError, match="member-2"):
                bench.turn_until(lambda: False)
    assert MEMBER.member_id == "member-1"
