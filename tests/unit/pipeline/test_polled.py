"""Records by columns: they say what the messages say, in whatever way they are asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.pipeline.fakes import record
from tests.unit.pipeline.messages import Message

from tallystick.ids import EVENT_ID_HEADER, derived_id, deterministic_id, position_id
from tallystick.pipeline import Context
from tallystick.pipeline.batch import EventIds
from tallystick.pipeline.polled import Polled
from tallystick.pipeline.replays import Replays

IDS = EventIds("cluster", {"t": "topic-id", "u": "other-id"})
GIVEN = deterministic_id("test", "given")
PLACES = st.lists(st.tuples(st.sampled_from("tu"), st.integers(0, 2), st.booleans()), min_size=1, max_size=30)


@given(PLACES)
def test_a_record_is_the_same_alone_and_among_all(places: list[tuple[str, int, bool]]) -> None:
    stamp = [(EVENT_ID_HEADER, GIVEN.encode())]
    messages = [Message(at, stamp if own else None, number, name) for at, (name, number, own) in enumerate(places)]
    batch = IDS.batch(messages)
    alone = [IDS.batch([message]).records[0] for message in messages]
    assert [batch.records[index] for index in range(len(messages))] == alone
    assert list(batch.records) == alone
    assert batch.positions == {(one.topic, one.partition): one.offset + 1 for one in alone}
    for index, (name, number, own) in enumerate(places):
        topic_id = {"t": "topic-id", "u": "other-id"}[name]
        by_position = position_id(cluster_id="cluster", topic_id=topic_id, partition=number, offset=index)
        assert alone[index].event_id == (GIVEN if own else by_position)


@pytest.mark.parametrize("stamped", [False, True])
def test_derived_ids_are_those_of_the_event_ids(stamped: bool) -> None:
    headers = [(EVENT_ID_HEADER, GIVEN.encode())] if stamped else None
    polled = IDS.batch([Message(at, headers if at % 2 else None, at // 3) for at in range(7)]).records
    assert isinstance(polled, Polled)
    derived = polled.derived_ids("rate", 1)
    assert derived == [derived_id(one.event_id, "rate", 1) for one in polled]
    assert derived == polled.derived_ids("rate", 1)


def test_a_context_shows_its_record() -> None:
    message = Message(4, [("trace", b"1"), ("trace", b"2")], 1)
    polled = IDS.batch([Message(3), message]).records
    assert isinstance(polled, Polled)
    for context in (Context(polled, 1, "rate"), Context.of(polled[1], "rate")):
        assert (context.topic, context.partition, context.offset) == ("t", 1, 4)
        assert (context.key, context.timestamp_ms) == (b"k", 1234)
        assert context.headers == (("trace", b"1"), ("trace", b"2"))
        assert (context.header("trace"), context.header("other")) == (b"2", None)
        assert context.record.event_id == context.event_id
        assert context.derived_id(2) == derived_id(context.event_id, "rate", 2)


def test_records_that_are_there_already_are_kept() -> None:
    records = [record(1), record(2)]
    polled = Polled.of(records)
    assert list(polled) == records
    assert (len(polled), polled[1], polled[:1]) == (2, records[1], records[:1])
    assert polled.topics == ["in", "in"]


def test_nothing_polled_is_an_empty_batch() -> None:
    batch = IDS.batch([])
    assert (list(batch.records), batch.positions) == ([], {})


def test_a_replay_is_what_lies_below_the_highest_position_of_its_partition() -> None:
    replays = Replays()
    assert replays.count(IDS.batch([Message(at) for at in range(3, 10)]).runs) == 0
    assert replays.count(IDS.batch([Message(at) for at in range(7, 12)]).runs) == 3
    assert replays.count(IDS.batch([Message(4), Message(4, number=1), Message(12)]).runs) == 1
