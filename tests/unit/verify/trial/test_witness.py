"""A violation is told by the shortest history that still shows it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tallystick.verify.oracle import Expected, History, Position, Seen, TopicView, judge
from tallystick.verify.timeline import Moment
from tallystick.verify.trial.outcome import Violation
from tallystick.verify.trial.witness import reduced, shortest


def history(events: int = 50) -> History:
    """A flawless run of ``events`` events of five keys, one partition each."""
    expected = tuple(
        Expected(
            "out",
            f"event-{event}",
            b"key-%d" % (event % 5),
            group=f"event-{event}",
            sequence=event,
            source=Position("in", event % 5, event // 5),
        )
        for event in range(events)
    )
    seen = tuple(
        Seen(Position("out", event % 5, event // 5), b"key-%d" % (event % 5), f"event-{event}", "")
        for event in range(events)
    )
    ends = dict.fromkeys(range(5), events // 5)
    return History(
        expected=expected,
        views=(TopicView("out", seen, seen, last_stable_offsets=ends, high_watermarks=ends),),
        next_offsets={("in", partition): events // 5 for partition in range(5)},
    )


def with_seen(whole: History, seen: tuple[Seen, ...]) -> History:
    return replace(whole, views=(replace(whole.views[0], committed=seen, uncommitted=seen),))


def swapped(whole: History, one: int, other: int) -> History:
    """Two outputs of one key in each other's place."""
    seen = list(whole.views[0].committed)
    seen[one] = replace(seen[one], position=seen[other].position)
    seen[other] = replace(whole.views[0].committed[other], position=whole.views[0].committed[one].position)
    return with_seen(whole, tuple(seen))


def repeated(whole: History, event: int) -> History:
    seen = whole.views[0].committed
    return with_seen(whole, (*seen, replace(seen[event], position=Position("out", event % 5, 99))))


def test_a_flawless_history_stays_flawless_in_this_file() -> None:
    assert judge(history()).passed


@pytest.mark.parametrize("event", [0, 23, 49])
def test_a_repetition_is_shown_by_its_own_event_alone(event: int) -> None:
    small = reduced("repeated", repeated(history(), event))
    assert [output.identity for output in small.expected] == [f"event-{event}"]
    assert len(small.views[0].committed) == 2


def test_a_break_of_the_order_is_shown_by_two_events_of_the_key() -> None:
    small = reduced("order", swapped(history(), 7, 37))
    assert len(small.expected) == 2
    assert judge(small).count("order") == 1


def test_a_stranger_is_shown_by_itself() -> None:
    whole = history()
    stranger = Seen(Position("out", 0, 98), b"x", "stranger", "")
    small = reduced("unexpected", with_seen(whole, (*whole.views[0].committed, stranger)))
    assert (small.expected, [record.identity for record in small.views[0].committed]) == ((), ["stranger"])


def test_the_lines_say_where_it_lies_when_it_was_seen_and_what_was_broken_then() -> None:
    whole = repeated(history(), 23)
    found = Violation("outputs", "repeated", 1, ("...",))
    moments = [
        Moment(9_000, "faults", "kill-broker", until_ms=10_500),
        Moment(11_000, "slot-0", "killed"),
        Moment(60_000, "slot-1", "killed"),
    ]
    seen_at_ms = {Position("out", 3, 4): 11_200, Position("out", 3, 99): 12_000}
    lines = shortest(found, whole, moments, seen_at_ms).witness
    text = "\n".join(lines)
    assert "event event-23, read from in-3@4" in text
    assert "event-23 at out-3@99 is visible, first read 12.000 s after the start" in text
    assert "the group's offset of in-3 is 10" in text
    assert "kill-broker" in text
    assert "slot-0: killed" in text
    assert "slot-1" not in text


def test_a_violation_that_no_event_shows_keeps_its_examples() -> None:
    found = Violation("outputs", "stuck", 1, ("out-0 stood still",))
    assert shortest(found, history(), [], {}).witness == ("out-0 stood still",)
