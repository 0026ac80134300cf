"""Which offsets a replay reads: from the span's first record, or the beginning, to where the group stands."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import pytest
from tests.unit.pipeline.fakes import FakeTopics, QuickPatience

from tallystick.clock import ManualClock
from tallystick.errors import ConfigurationError
from tallystick.pipeline.kafka_client import Partition
from tallystick.pipeline.replay.scope import Scope, Span, scope
from tallystick.pipeline.starts import StoredOffset, TopicFacts

FACTS = {"in": TopicFacts("topic", 2)}
MARCH = Span(from_ms=100, to_ms=200)


class Logs(FakeTopics):
    """Partition 0 is whole; partition 1 begins at 10. Records of the span begin at 30 and 40."""

    def __init__(self) -> None:
        super().__init__()
        self.offsets = {("in", 0): StoredOffset(50), ("in", 1): StoredOffset(60)}
        self.firsts = {("in", 0): 30, ("in", 1): 40}

    def bounds(self, partitions: Iterable[Partition]) -> dict[Partition, tuple[int, int]]:
        return {
            place: found for place, found in {("in", 0): (0, 55), ("in", 1): (10, 60)}.items() if place in partitions
        }

    def offsets_at(self, partitions: Iterable[Partition], time_ms: int) -> dict[Partition, int]:
        return {
            place: first for place, first in self.firsts.items() if place in partitions and time_ms == MARCH.from_ms
        }


def found(span: Span, logs: Logs, *, from_beginning: bool = False) -> Scope:
    patience = QuickPatience(ManualClock(start_ms=0), threading.Event(), 1_000)
    return scope(span, "shop.rate", FACTS, logs, patience, from_beginning=from_beginning)


def test_from_the_first_record_of_the_span_to_where_the_group_stands() -> None:
    within = found(MARCH, Logs())
    assert within.ranges == {("in", 0): (30, 50), ("in", 1): (40, 60)}
    assert within.offsets == 40
    assert within.notes == ("in-0: 5 offsets that the group has not processed are left out",)


def test_without_a_beginning_from_the_beginning_and_what_is_deleted_is_said() -> None:
    within = found(Span(to_ms=200), Logs())
    assert within.ranges == {("in", 0): (0, 50), ("in", 1): (10, 60)}
    assert any("in-1 begins at offset 10" in note for note in within.notes)


def test_a_span_behind_which_nothing_was_processed_has_nothing_to_read() -> None:
    logs = Logs()
    logs.firsts = {("in", 0): 52}
    assert found(MARCH, logs).ranges == {}


def test_some_partitions_only() -> None:
    assert found(Span(from_ms=100, partitions=frozenset({1})), Logs()).ranges == {("in", 1): (40, 60)}


def test_state_needs_all_records_from_the_first() -> None:
    first = Span(from_ms=100, to_ms=200, partitions=frozenset({0}))
    assert found(first, Logs(), from_beginning=True).ranges == {("in", 0): (0, 50)}
    with pytest.raises(ConfigurationError, match="in-1 begins at offset 10"):
        found(MARCH, Logs(), from_beginning=True)


def test_a_group_that_has_committed_nothing_is_told_apart_from_one_that_is_done() -> None:
    logs = Logs()
    logs.offsets = {}
    with pytest.raises(ConfigurationError, match=r"shop\.rate.*--group"):
        found(MARCH, logs)


@pytest.mark.parametrize(("stamp", "is_in"), [(99, False), (100, True), (199, True), (200, False)])
def test_a_span_has_its_first_moment_and_not_its_last(stamp: int, *, is_in: bool) -> None:
    assert MARCH.holds(stamp) is is_in
