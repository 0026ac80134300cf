"""Events of two topics meet when their times are near, in whatever order they come."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.pipeline.windows.partition import Partition, values

from tallystick.errors import ConfigurationError
from tallystick.pipeline import App, Context, Emit, Topic, emit
from tallystick.pipeline.windows import Join, JoinSide, JoinSpan, LateEvent

LEFT, RIGHT, OUT = Topic("left", bytes), Topic("right", bytes), Topic("out", bytes)
WITHIN, GRACE = 10, 4


def ms(number: int) -> timedelta:
    return timedelta(milliseconds=number)


def pair(left: bytes, right: bytes | None, _context: Context) -> Emit:
    return emit(OUT, left + b"+" + (right or b"nothing"))


def partition(folder: Path, *, keep_left: bool = True) -> Partition:
    sides = JoinSide("left", LEFT, None), JoinSide("right", RIGHT, None)
    join = Join("step", *sides, JoinSpan.of(ms(WITHIN), ms(GRACE)), pair, keep_left=keep_left)
    return Partition(folder, join, sides)


EVENTS = st.lists(
    st.tuples(st.sampled_from([LEFT, RIGHT]), st.sampled_from(["a", "b"]), st.integers(-GRACE, 12)), max_size=30
)
"""Topic, key, and how far ahead of its topic's newest time the event is."""


@settings(max_examples=80, deadline=None)
@given(EVENTS, st.booleans(), st.integers(1, 5))
def test_each_pair_meets_once_and_each_left_event_that_met_nothing_is_told_once(
    steps: list[tuple[Topic[bytes], str, int]], keep_left: bool, per_transaction: int
) -> None:
    newest = {LEFT: 100, RIGHT: 100}
    events = []
    for number, (topic, key, ahead) in enumerate(steps):
        time_ms = newest[topic] + ahead
        newest[topic] = max(newest[topic], time_ms)
        events.append((topic, key, time_ms, number))
    lefts = [one for one in events if one[0] is LEFT]
    rights = [one for one in events if one[0] is RIGHT]
    expected = [(a[3], b[3]) for a in lefts for b in rights if a[1] == b[1] and abs(a[2] - b[2]) <= WITHIN]
    met = {a for a, _ in expected}
    told = [f"{a}+{b}".encode() for a, b in expected]
    if keep_left:
        told += [f"{one[3]}+nothing".encode() for one in lefts if one[3] not in met]
    with tempfile.TemporaryDirectory() as folder:
        made = partition(Path(folder), keep_left=keep_left)
        for topic, key, time_ms, number in events:
            made.feed(key.encode(), time_ms, b"%d" % number, topic=topic.name, identity=str(number))
            if number % per_transaction == 0:
                made.commit()
            elif number % 7 == 3:
                made.abort()
                start = number - number % per_transaction + 1
                for again in events[start : number + 1]:
                    made.feed(
                        again[1].encode(), again[2], b"%d" % again[3], topic=again[0].name, identity=str(again[3])
                    )
        made.commit()
        made.feed(b"end", 10_000, b"end", topic="right", identity="end")
        made.feed(b"other end", 10_000, b"end", topic="left", identity="other end")
        made.commit()
        assert made.poisoned == []
        assert sorted(values(made.committed)) == sorted(told)
        assert len({one.event_id for one in made.committed}) == len(made.committed)
        made.close()


def test_a_source_that_is_read_much_later_than_the_other_loses_nothing(tmp_path: Path) -> None:
    made = partition(tmp_path)
    for number in range(20):
        made.feed(b"k%d" % number, number * 1_000, b"%d" % number, topic="left")
    outputs = [one for number in range(20) for one in made.feed(b"k%d" % number, number * 1_000, b"r", topic="right")]
    assert values(outputs) == [b"%d+r" % number for number in range(20)]
    made.close()


def test_an_event_out_of_order_beyond_the_grace_is_late(tmp_path: Path) -> None:
    made = partition(tmp_path)
    made.feed(b"a", 100, b"1", topic="left")
    made.feed(b"a", 100 - GRACE - 1, b"2", topic="left")
    assert [type(one) for one in made.poisoned] == [LateEvent]
    made.close()


def test_a_left_event_alone_has_an_id_of_its_own_whichever_event_shows_it(tmp_path: Path) -> None:
    ids = []
    for name in ("one", "two"):
        made = partition(tmp_path / name)
        made.feed(b"a", 100, b"1", topic="left", identity="left")
        ids.append([one.event_id for one in made.feed(b"b", 500, b"2", topic="right", identity=name)])
        made.close()
    assert ids[0] == ids[1]
    assert len(ids[0]) == 1


def test_so_many_events_of_one_key_may_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallystick.pipeline.windows.joins.MAX_WAITING", 2)
    made = partition(tmp_path)
    for _ in range(3):
        made.feed(b"a", 100, b"1", topic="left")
    assert ["wait for the other side already" in str(one) for one in made.poisoned] == [True]
    made.close()


def test_a_topic_is_not_joined_with_itself() -> None:
    with pytest.raises(ConfigurationError, match="with itself"):
        App("shop").join(left=LEFT, right=LEFT, within=ms(1))(pair)
