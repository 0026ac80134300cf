"""Windows close once, with what came in time, whatever is aborted on the way."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.pipeline.windows.partition import Partition, values

from tallystick.errors import ConfigurationError
from tallystick.pipeline import App, Context, Emit, Hopping, Late, Session, Topic, Tumbling, Window, Windows, emit
from tallystick.pipeline.windows import Aggregation, LateEvent, TimeJump

OUT = Topic("out", bytes)
SIDE = Topic("late", bytes)
SIZE, ADVANCE, GRACE, GAP = 10, 4, 3, 5


def ms(number: int) -> timedelta:
    return timedelta(milliseconds=number)


def add(value: list[int] | None, event: bytes) -> list[int]:
    return sorted([*(value or []), int(event)])


def merge(value: list[int], other: list[int]) -> list[int]:
    return sorted(value + other)


def told(window: Window[str, list[int]], _context: Context) -> Emit:
    text = f"{window.key} {window.start_ms} {window.end_ms} {window.value}"
    return emit(OUT, text.encode(), key=window.key)


def updated(window: Window[str, list[int]], _context: Context) -> Iterator[Emit]:
    yield emit(OUT, b"update %d" % len(window.value), key=window.key)


def windows(shape: Tumbling | Hopping | Session, **options: Any) -> Windows[str, list[int]]:
    return Windows("w", shape, key=str, value=list[int], grace=ms(GRACE), **{"late": Late.DROP, **options})


def partition(folder: Path, declared: Windows[str, list[int]], **options: Any) -> Partition:
    given_ = {"key": None, "time": None, "merge": merge, "updated": None, "closed": told, **options}
    return Partition(folder, Aggregation("step", declared, add, **given_), [declared])


EVENTS = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 8), st.sampled_from(["", "commit", "abort"])), max_size=40
)
"""Key, how far behind the newest time so far the event is (0: ahead of it), and what happens after it."""


def timed_events(steps: list[tuple[str, int, str]]) -> list[tuple[str, int, str]]:
    events, newest = [], 100
    for key, back, then in steps:
        time_ms = newest + 3 if back == 0 else newest - back
        newest = max(newest, time_ms)
        events.append((key, time_ms, then))
    return events


def run(folder: Path, declared: Windows[str, list[int]], events: list[tuple[str, int, str]]) -> Partition:
    """Each event once in a committed transaction; what is aborted is fed again."""
    made = partition(folder, declared)
    since: list[tuple[int, str, int]] = []
    for number, (key, time_ms, then) in enumerate(events):
        since.append((number, key, time_ms))
        made.feed(key.encode(), time_ms, b"%d" % number, identity=str(number))
        if then == "abort":
            made.abort()
            for again, its_key, its_time in since:
                made.feed(its_key.encode(), its_time, b"%d" % again, identity=str(again))
        if then:
            made.commit()
            since.clear()
    while made.feed(b"end", 1_000_000, b"-1"):
        made.commit()  # so many at once
    made.commit()
    return made


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.sampled_from([Tumbling(ms(SIZE)), Hopping(ms(SIZE), ms(ADVANCE))]))
def test_fixed_windows_close_once_with_what_came_in_time(
    steps: list[tuple[str, int, str]], shape: Tumbling | Hopping
) -> None:
    events = timed_events(steps)
    expected: dict[tuple[str, int], list[int]] = defaultdict(list)
    stream_time = 0
    for number, (key, time_ms, _) in enumerate(events):
        stream_time = max(stream_time, time_ms)
        for start in shape.starts(time_ms):
            if start + SIZE + GRACE > stream_time:
                expected[key, start].append(number)
    with tempfile.TemporaryDirectory() as folder:
        declared = windows(shape)
        made = run(Path(folder), declared, events)
        assert sorted(values(made.committed)) == sorted(
            f"{key} {start} {start + SIZE} {sorted(numbers)}".encode() for (key, start), numbers in expected.items()
        )
        assert len({one.event_id for one in made.committed}) == len(made.committed)
        assert {key[9:] for key in made.entries(declared)} == {b"end"}, "closed windows are deleted"
        made.close()


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.sampled_from([1, 1_000]))
def test_sessions_close_once_with_what_came_in_time(steps: list[tuple[str, int, str]], at_once: int) -> None:
    events = timed_events(steps)
    spans: dict[str, list[tuple[int, int, list[int]]]] = defaultdict(list)
    stream_time = 0
    for number, (key, time_ms, _) in enumerate(events):
        stream_time = max(stream_time, time_ms)
        near = [
            one for one in spans[key] if one[0] - GAP < time_ms < one[1] + GAP and one[1] + GAP + GRACE > stream_time
        ]
        start, last = min([time_ms, *(one[0] for one in near)]), max([time_ms, *(one[1] for one in near)])
        if last + GAP + GRACE > stream_time:
            numbers = sorted([number, *(each for one in near for each in one[2])])
            spans[key] = [one for one in spans[key] if one not in near] + [(start, last, numbers)]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("tallystick.pipeline.windows.aggregation.CLOSE_AT_ONCE", at_once)
        declared = windows(Session(ms(GAP)))
        made = run(Path(folder), declared, events)
        assert sorted(values(made.committed)) == sorted(
            f"{key} {start} {last + GAP} {numbers}".encode()
            for key, each in spans.items()
            for start, last, numbers in each
        )
        assert len({one.event_id for one in made.committed}) == len(made.committed)
        assert list(made.entries(declared)) == [b"send"], "closed sessions are deleted"
        made.close()


def test_a_closed_window_has_the_same_ids_whichever_event_closes_it(tmp_path: Path) -> None:
    ids = []
    for name, closer in (("one", b"other"), ("two", b"another")):
        made = partition(tmp_path / name, windows(Tumbling(ms(SIZE))))
        made.feed(b"a", 5, b"1")
        ids.append([one.event_id for one in made.feed(closer, 500, b"2", identity=name)])
        made.close()
    assert ids[0] == ids[1]
    assert len(ids[0]) == 1


def test_updates_are_told_as_they_happen_with_ids_of_their_event(tmp_path: Path) -> None:
    made = partition(tmp_path, windows(Tumbling(ms(SIZE))), updated=updated, closed=None)
    told_ = [*made.feed(b"a", 5, b"1"), *made.feed(b"a", 6, b"2"), *made.feed(b"a", 500, b"3")]
    assert values(told_) == [b"update 1", b"update 2", b"update 1"]
    assert len({one.event_id for one in told_}) == 3
    made.close()


def late(folder: Path, policy: Late | Topic[bytes]) -> tuple[Partition, list[bytes]]:
    made = partition(folder, windows(Tumbling(ms(SIZE)), late=policy))
    made.feed(b"a", 500, b"1")
    outputs = made.feed(b"a", 5, b"2")
    made.commit()
    return made, [f"{one.topic}:".encode() + (one.value or b"") for one in outputs]


def test_a_late_event_becomes_a_dead_letter(tmp_path: Path) -> None:
    made, outputs = late(tmp_path, Late.DEAD_LETTER)
    assert outputs == []
    assert [type(one) for one in made.poisoned] == [LateEvent]
    made.close()


def test_a_late_event_is_dropped_and_counted(tmp_path: Path) -> None:
    made, outputs = late(tmp_path, Late.DROP)
    assert (outputs, made.poisoned, made.lane.late) == ([], [], 1)
    made.close()


def test_a_late_event_goes_to_a_topic_of_its_own_as_it_came(tmp_path: Path) -> None:
    made, outputs = late(tmp_path, SIDE)
    assert (outputs, made.poisoned, made.lane.late) == ([b"late:2"], [], 1)
    made.close()


def test_an_event_of_a_wrong_clock_closes_nothing(tmp_path: Path) -> None:
    declared = windows(Tumbling(ms(SIZE)), max_jump=ms(100))
    made = partition(tmp_path, declared)
    made.feed(b"a", 5, b"1")
    assert made.feed(b"a", 1_000_000, b"2") == []
    assert [type(one) for one in made.poisoned] == [TimeJump]
    assert values(made.feed(b"a", 50, b"3")) == [b"a 0 10 [1]"]
    made.close()


def test_an_event_closes_so_many_windows_and_the_next_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallystick.pipeline.windows.aggregation.CLOSE_AT_ONCE", 3)
    made = partition(tmp_path, windows(Tumbling(ms(SIZE))))
    for number in range(7):
        made.feed(b"k%d" % number, 5, b"1")
    made.commit()
    assert [len(made.feed(b"later", 500, b"2")) for _ in range(4)] == [3, 3, 1, 0]
    made.close()


def test_time_and_key_may_be_taken_from_the_event(tmp_path: Path) -> None:
    made = partition(tmp_path, windows(Tumbling(ms(SIZE))), key=lambda event: event.decode(), time=int)
    made.feed(b"ignored", 9_999, b"5")
    assert values(made.feed(b"ignored", 0, b"50")) == [b"5 0 10 [5]"]
    made.close()


def test_an_aggregation_that_tells_nobody_and_sessions_that_cannot_merge_are_refused() -> None:
    app, source = App("shop"), Topic("in", bytes)
    with pytest.raises(ConfigurationError, match="tells nobody"):
        app.aggregate(source=source, windows=windows(Tumbling(ms(SIZE))))(add)
    with pytest.raises(ConfigurationError, match="merge"):
        app.aggregate(source=source, windows=windows(Session(ms(GAP))), closed=told)(add)


def test_a_session_that_is_over_and_not_told_yet_takes_no_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tallystick.pipeline.windows.aggregation.CLOSE_AT_ONCE", 1)
    made = partition(tmp_path, windows(Session(ms(GAP))))
    made.feed(b"b", 91, b"1")
    made.feed(b"a", 92, b"2")
    assert values(made.feed(b"c", 100, b"3")) == [b"b 91 96 [1]"]  # that of a is over too
    assert values(made.feed(b"a", 96, b"4")) == [b"a 92 97 [2]"]
    assert values(made.feed(b"c", 104, b"5")) == [b"a 96 101 [4]"]
    made.close()
