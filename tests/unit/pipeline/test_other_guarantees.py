"""The order of things under at-least-once and at-most-once, over fakes."""

from __future__ import annotations

import pytest
from tests.unit.pipeline.fakes import Bench, batch, record

from tallystick.errors import AbortableError, FatalError, RetriableError
from tallystick.pipeline.at_least_once import AtLeastOnce
from tallystick.pipeline.at_most_once import AtMostOnce
from tallystick.pipeline.policy import ErrorPolicy

ONE = batch(record(0))


def test_at_least_once_commits_after_every_output_is_acknowledged() -> None:
    bench = Bench()
    AtLeastOnce(bench.parts).deliver(ONE)
    assert bench.journal == ["produce", "flush", "commit-offsets"]


@pytest.mark.parametrize("call", ["produce", "flush", "commit-offsets"])
def test_at_least_once_rewinds_whatever_fails(call: str) -> None:
    bench = Bench()
    strategy = AtLeastOnce(bench.parts)
    bench.script[call] = [AbortableError("failed")]
    strategy.deliver(ONE)
    assert bench.journal[-1] == "rewind"
    assert bench.counters.commits == 0


def test_at_least_once_replaces_a_broken_producer() -> None:
    bench = Bench()
    strategy = AtLeastOnce(bench.parts)
    bench.script["flush"] = [FatalError("broken")]
    strategy.deliver(ONE)
    assert bench.journal == ["produce", "flush", "discard", "rewind"]
    assert len(bench.producers) == 2


def test_at_least_once_gives_a_record_its_tries_and_then_a_dead_letter() -> None:
    bench = Bench(ErrorPolicy(tries=2))
    strategy = AtLeastOnce(bench.parts)
    strategy.deliver(batch(record(0, b"bad")))
    assert bench.journal == ["rewind"]
    strategy.deliver(batch(record(0, b"bad")))
    assert [output.topic for output in bench.producer.pending] == ["dead"]


def test_at_most_once_commits_before_it_processes() -> None:
    bench = Bench()
    calls_at_commit: list[int] = []
    bench.processor.failing = lambda _records: calls_at_commit.append(len(bench.journal))
    AtMostOnce(bench.parts).deliver(ONE)
    assert bench.journal == ["commit-offsets", "produce", "flush"]
    assert calls_at_commit == [1]


def test_at_most_once_never_processes_what_it_could_not_commit() -> None:
    bench = Bench()
    bench.script["commit-offsets"] = [AbortableError("rebalance")]
    AtMostOnce(bench.parts).deliver(ONE)
    assert bench.journal == ["commit-offsets", "rewind"]
    assert bench.processor.calls == []


def test_at_most_once_never_goes_back() -> None:
    bench = Bench()
    bench.script["flush"] = [AbortableError("delivery failed")]
    AtMostOnce(bench.parts).deliver(ONE)
    assert "rewind" not in bench.journal


def test_at_most_once_tells_a_bad_record_apart_in_memory() -> None:
    bench = Bench(ErrorPolicy(tries=2))
    AtMostOnce(bench.parts).deliver(batch(record(0), record(1, b"bad"), record(2)))
    assert [output.topic for output in bench.producer.pending] == ["out", "dead", "out"]
    assert bench.journal == ["commit-offsets", "produce", "flush"]


def test_at_most_once_counts_what_it_gives_up() -> None:
    bench = Bench()

    def away(_records: object) -> None:
        raise RetriableError("no database")

    bench.processor.failing = away
    AtMostOnce(bench.parts).deliver(batch(record(0), record(1)))
    assert bench.counters.lost_records == 2
