"""The driver of the exactly-once cycle, over fakes: what it does when each call fails."""

from __future__ import annotations

import dataclasses

import pytest
from tests.unit.pipeline.fakes import TRANSACTION_TIMEOUT_MS, Bench, Copy, batch, record

from tallystick.clock import ManualClock
from tallystick.errors import (
    AbortableError,
    AmbiguousOutcome,
    ConfigurationError,
    FatalError,
    FencedError,
    RetriableError,
)
from tallystick.pipeline.cycle import Phase
from tallystick.pipeline.exactly_once import ExactlyOnce
from tallystick.pipeline.kafka_client import GroupMetadata, Membership, OutputRefused
from tallystick.pipeline.patience import GaveUp, StopAsked
from tallystick.pipeline.policy import STOP, ErrorPolicy, StoppedByPolicy
from tallystick.pipeline.work import BatchWork, WorkStopped

WHOLE = ["begin", "produce", "offsets", "commit"]
ONE = batch(record(0))


def started(bench: Bench) -> ExactlyOnce:
    strategy = ExactlyOnce(bench.parts)
    strategy.start()
    strategy.changed("assigned")
    bench.journal.clear()
    return strategy


def deliver_for_ever(strategy: ExactlyOnce) -> None:
    for _ in range(1000):
        strategy.deliver(ONE)


def test_a_worker_settles_its_predecessors_transaction_before_anything_else() -> None:
    bench = Bench()
    ExactlyOnce(bench.parts).start()
    assert bench.journal == ["init", "rewind"]


def test_a_batch_is_one_transaction() -> None:
    bench = Bench()
    started(bench).deliver(batch(record(0), record(1)))
    assert bench.journal == WHOLE
    assert [output.event_id for output in bench.committed] == [record(0).event_id, record(1).event_id]
    assert (bench.counters.commits, bench.counters.records_in) == (1, 2)


def test_a_call_that_is_retriable_is_called_again() -> None:
    bench = Bench()
    bench.script["offsets"] = [RetriableError("again")] * 2
    started(bench).deliver(ONE)
    assert bench.journal == ["begin", "produce", "offsets", "offsets", "offsets", "commit"]


def test_exhausted_retries_abort() -> None:
    bench = Bench()
    bench.script["offsets"] = [RetriableError("again")] * 6
    started(bench).deliver(ONE)
    assert bench.journal == ["begin", "produce", *["offsets"] * 6, "abort", "rewind"]
    assert bench.counters.aborts == {"retries-exhausted": 1}


@pytest.mark.parametrize(
    ("call", "cause"),
    [("produce", "producer"), ("offsets", "offsets"), ("commit", "producer"), ("delivery", "producer")],
)
def test_an_abortable_failure_aborts_and_rewinds(call: str, cause: str) -> None:
    bench = Bench()
    strategy = started(bench)
    bench.script[call] = [AbortableError("lost")]
    strategy.deliver(ONE)
    assert bench.journal[-2:] == ["abort", "rewind"]
    assert bench.counters.aborts == {cause: 1}
    assert bench.committed == []
    strategy.deliver(ONE)
    assert len(bench.committed) == 1


@pytest.mark.parametrize("error", [AbortableError("abort"), FatalError("fatal"), AmbiguousOutcome("unknown")])
def test_a_failed_abort_is_settled_by_a_new_producer_and_never_repeated(error: BaseException) -> None:
    bench = Bench()
    strategy = started(bench)
    bench.script["offsets"] = [AbortableError("lost")]
    bench.script["abort"] = [error]
    strategy.deliver(ONE)
    assert bench.journal == ["begin", "produce", "offsets", "abort", "discard", "init", "rewind"]


@pytest.mark.parametrize("error", [AmbiguousOutcome("no answer"), FatalError("broken")])
def test_an_end_without_a_clear_answer_is_settled_by_a_new_producer(error: BaseException) -> None:
    bench = Bench()
    strategy = started(bench)
    bench.script["commit"] = [error]
    strategy.deliver(ONE)
    assert bench.journal == [*WHOLE, "discard", "init", "rewind"]
    assert bench.counters.commits == 0


@pytest.mark.parametrize("call", ["begin", "produce", "offsets", "commit"])
def test_a_fenced_worker_stops_and_never_initialises_again(call: str) -> None:
    bench = Bench()
    strategy = started(bench)
    bench.script[call] = [FencedError("newer owner")]
    with pytest.raises(FencedError):
        strategy.deliver(ONE)
    assert strategy.cycle.phase is Phase.FENCED
    assert bench.journal[-2:] == [call, "discard"]
    assert len(bench.producers) == 1


def test_a_commit_that_succeeded_over_a_lost_connection_costs_the_producer() -> None:
    bench = Bench()
    strategy = started(bench)
    bench.producer.lost_connection = "cut"
    strategy.deliver(ONE)  # the loss is seen before the transaction begins
    assert bench.journal == ["discard", "init", "rewind"]
    bench.journal.clear()
    strategy.deliver(ONE)
    assert bench.journal == WHOLE

    def cut_on_commit(timeout_ms: int) -> None:
        bench.journal.append("commit")
        bench.producer.lost_connection = "cut"

    bench.journal.clear()
    bench.producer.commit = cut_on_commit  # type: ignore[method-assign]
    strategy.deliver(ONE)
    assert bench.journal == [*WHOLE, "discard", "init", "rewind"]
    assert bench.counters.commits == 2
    assert bench.counters.producers_discarded == {"connection": 2}


def test_a_transaction_whose_time_ran_out_is_not_committed() -> None:
    bench = Bench()
    strategy = started(bench)
    bench.producer.slow_ms["offsets"] = TRANSACTION_TIMEOUT_MS
    strategy.deliver(ONE)
    assert bench.journal == ["begin", "produce", "offsets", "discard", "init", "rewind"]
    assert bench.counters.producers_discarded == {"deadline": 1}


def test_a_step_that_is_too_slow_sends_no_offsets() -> None:
    bench = Bench()
    strategy = started(bench)
    bench.processor.failing = lambda _records: bench.clock.advance(by_ms=TRANSACTION_TIMEOUT_MS)
    strategy.deliver(ONE)
    assert bench.journal == ["begin", "produce", "discard", "init", "rewind"]


def test_fencing_after_our_own_time_ran_out_is_the_coordinators_time_out() -> None:
    bench = Bench()
    strategy = started(bench)
    bench.producer.slow_ms["produce"] = TRANSACTION_TIMEOUT_MS
    bench.script["produce"] = [FencedError("epoch bumped by the time-out")]
    strategy.deliver(ONE)
    assert bench.journal == ["begin", "produce", "discard", "init", "rewind"]


def test_a_new_producer_is_refused_if_another_member_holds_the_slot() -> None:
    bench = Bench()
    strategy = started(bench)
    bench.script["commit"] = [AmbiguousOutcome("no answer")]
    bench.holder = "somebody-else"
    with pytest.raises(FencedError, match="somebody-else"):
        strategy.deliver(ONE)
    assert "init" not in bench.journal


def test_nothing_begins_under_a_membership_that_is_not_the_assignments() -> None:
    bench = Bench()
    strategy = started(bench)
    bench.consumer.member = Membership(GroupMetadata(b"raw-2"), 2, "member-1")
    strategy.deliver(ONE)
    assert bench.journal == ["rewind"]
    assert bench.counters.aborts == {"assignment": 1}


@pytest.mark.parametrize(
    "member",
    [
        Membership(GroupMetadata(b"raw-2"), 2, "member-1"),
        Membership(GroupMetadata(b"raw-0"), -1, ""),
        Membership(GroupMetadata(b"raw-3"), 1, "member-2"),
    ],
)
def test_a_membership_that_changes_in_a_transaction_aborts_it_before_its_offsets(member: Membership) -> None:
    bench = Bench()
    strategy = started(bench)

    def rejoin(_records: object) -> None:
        bench.consumer.member = member

    bench.processor.failing = rejoin
    strategy.deliver(ONE)
    assert bench.journal == ["begin", "produce", "abort", "rewind"]
    assert bench.counters.aborts == {"offsets": 1}


def test_a_record_that_fails_aborts_and_is_told_apart_from_its_batch() -> None:
    bench = Bench(ErrorPolicy(tries=2))
    strategy = started(bench)
    bad = record(1, b"bad")
    strategy.deliver(batch(record(0), bad, record(2)))
    assert bench.journal == ["begin", "abort", "rewind"]
    isolating_before = bench.work.failures.isolating
    strategy.deliver(batch(record(0)))
    strategy.deliver(batch(bad))
    assert [output.topic for output in bench.committed] == ["out"]
    strategy.deliver(batch(bad))  # the second try alone: a dead letter
    strategy.deliver(batch(record(2)))
    assert [output.topic for output in bench.committed] == ["out", "dead", "out"]
    assert (isolating_before, bench.work.failures.isolating) == (True, False)
    assert bench.counters.dead_letters == 1
    assert bench.counters.aborts == {"step-failed": 2}


def test_the_dead_letter_and_the_offset_are_one_transaction() -> None:
    bench = Bench(ErrorPolicy(tries=1))
    started(bench).deliver(batch(record(0, b"bad")))
    assert bench.journal == WHOLE
    (letter,) = bench.committed
    assert letter.topic == "dead"
    assert letter.value == b"bad"
    headers = dict(letter.headers)
    assert headers["tallystick-failure-cause"] == b"builtins.ValueError: bad value at 0"
    assert b"Traceback" in headers["tallystick-failure-stack"]
    assert (headers["tallystick-failure-topic"], headers["tallystick-failure-offset"]) == (b"in", b"0")


def test_a_policy_to_stop_aborts_first() -> None:
    bench = Bench(STOP)
    strategy = started(bench)
    with pytest.raises(WorkStopped) as stopped:
        strategy.deliver(batch(record(0, b"bad")))
    assert isinstance(stopped.value.cause, StoppedByPolicy)
    assert isinstance(stopped.value.cause.cause, ValueError)
    assert "in-0@0" in str(stopped.value.cause)
    assert bench.journal == ["begin", "abort", "rewind"]


@pytest.mark.parametrize("call", ["offsets", "abort"])
def test_a_stop_while_the_cluster_is_away_ends_the_tries(call: str) -> None:
    bench = Bench()
    strategy = started(bench)
    bench.script[call] = [RetriableError("nobody answers")] * 10
    bench.processor.failing = lambda _records: bench.stop.set()
    if call == "abort":
        bench.script["produce"] = [AbortableError("to be aborted")]
    with pytest.raises(StopAsked):
        strategy.deliver(ONE)
    assert len(bench.script[call]) == 9
    assert bench.journal[-1] == "discard"


def test_a_database_that_is_away_blames_no_record() -> None:
    bench = Bench(ErrorPolicy(tries=1))
    strategy = started(bench)
    answers = [RetriableError("no connection"), AmbiguousOutcome("lost at commit")]

    def away(_records: object) -> None:
        if answers:
            raise answers.pop(0)

    bench.processor.failing = away
    for _ in range(3):
        strategy.deliver(ONE)
    assert bench.counters.aborts == {"step-postponed": 2}
    assert [output.topic for output in bench.committed] == ["out"]


@pytest.mark.parametrize("error", [FencedError("owner epoch"), ConfigurationError("schema"), FatalError("broken")])
def test_a_processor_that_says_so_stops_the_worker(error: BaseException) -> None:
    bench = Bench()
    strategy = started(bench)

    def refuse(_records: object) -> None:
        raise error

    bench.processor.failing = refuse
    with pytest.raises(WorkStopped) as stopped:
        strategy.deliver(ONE)
    assert stopped.value.cause is error
    assert bench.journal == ["begin", "abort", "rewind"]


def test_aborts_without_a_culprit_end_after_a_limit() -> None:
    bench = Bench()
    strategy = started(bench)
    bench.script["offsets"] = [AbortableError("lost")] * 1000
    with pytest.raises(GaveUp):
        deliver_for_ever(strategy)
    assert bench.counters.aborts == {"offsets": 100}


def test_lost_producers_end_after_a_limit() -> None:
    bench = Bench()
    strategy = started(bench)
    bench.script["commit"] = [AmbiguousOutcome("no answer")] * 1000
    with pytest.raises(GaveUp):
        deliver_for_ever(strategy)
    assert bench.counters.producers_discarded == {"ambiguous": 11}


def test_an_output_that_kafka_refuses_condemns_its_record_to_the_dead_letters() -> None:
    bench = Bench(ErrorPolicy(tries=2))
    strategy = started(bench)
    bench.script["produce"] = [OutputRefused("too large")] * 3
    strategy.deliver(batch(record(0), record(1)))
    strategy.deliver(batch(record(0)))
    strategy.deliver(batch(record(0)))
    assert bench.committed == []
    strategy.deliver(batch(record(0)))
    strategy.deliver(batch(record(1)))
    assert [output.topic for output in bench.committed] == ["dead", "out"]
    assert bench.counters.aborts == {"output-refused": 3}


def test_a_fenced_worker_gives_its_partitions_back_without_a_word() -> None:
    bench = Bench()
    strategy = started(bench)
    bench.script["commit"] = [FencedError("newer owner")]
    with pytest.raises(FencedError):
        strategy.deliver(ONE)
    strategy.changed("revoking")
    strategy.changed("revoked")
    strategy.close()
    assert strategy.cycle.phase is Phase.FENCED


def test_closing_lets_go_of_the_producer() -> None:
    bench = Bench()
    strategy = started(bench)
    strategy.close()
    assert bench.journal == ["discard"]
    assert strategy.cycle.phase is Phase.STOPPED


def test_a_dead_letter_that_kafka_refuses_as_well_stops_the_step() -> None:
    bench = Bench(ErrorPolicy(tries=1))
    strategy = started(bench)
    bench.script["produce"] = [OutputRefused("too large")] * 2
    strategy.deliver(batch(record(0)))
    with pytest.raises(WorkStopped, match="dead letter of in-0@0") as stopped:
        strategy.deliver(batch(record(0)))
    assert isinstance(stopped.value.cause, ConfigurationError)
    assert "max.message.bytes of dead" in str(stopped.value)
    assert bench.journal[-2:] == ["abort", "rewind"]


def test_what_would_fail_again_in_the_same_way_aborts_and_stops() -> None:
    bench = Bench()
    strategy = started(bench)
    bench.script["delivery"] = [ConfigurationError("topic 'typo' is not there")]
    with pytest.raises(ConfigurationError, match="typo"):
        strategy.deliver(ONE)
    assert bench.journal[-2:] == ["abort", "rewind"]
    assert bench.committed == []


def test_a_step_that_never_fits_its_transactions_time_says_so() -> None:
    bench = Bench()
    strategy = started(bench)
    bench.processor.failing = lambda _records: bench.clock.advance(by_ms=TRANSACTION_TIMEOUT_MS + 1)
    with pytest.raises(ConfigurationError, match=f"transaction.timeout.ms={TRANSACTION_TIMEOUT_MS}") as refusal:
        deliver_for_ever(strategy)
    assert refusal.value.rule == 4
    assert bench.counters.producers_discarded == {"deadline": 5}


class JumpingClock(ManualClock):
    """Its wall clock jumps an hour back and a day ahead, in turns."""

    jump_ms = 0

    def now_ms(self) -> int:
        self.jump_ms = -3_600_000 if self.jump_ms > 0 else 86_400_000
        return super().now_ms() + self.jump_ms


def test_a_jump_of_the_wall_clock_changes_nothing() -> None:
    bench = Bench(clock=JumpingClock(start_ms=1_000_000))
    strategy = started(bench)
    for offset in range(3):
        strategy.deliver(batch(record(offset)))
    assert [output.event_id for output in bench.committed] == [record(offset).event_id for offset in range(3)]
    assert bench.counters.producers_discarded == {}


def test_a_processor_that_wants_to_know_is_told_of_each_change_of_the_assignment() -> None:
    class Fenced(Copy):
        changes = 0

        def assignment_changed(self) -> None:
            self.changes += 1

    bench, processor = Bench(), Fenced()
    bench.work = BatchWork(processor, step="copy", policy=STOP, dead_letter_topic="dead")
    bench.parts = dataclasses.replace(bench.parts, work=bench.work)
    strategy = started(bench)
    assert processor.changes == 1
    strategy.changed("revoking")
    strategy.changed("revoked")
    strategy.changed("assigned")
    assert processor.changes == 4
