"""Where a replay reads on, and when it stops guessing."""

from __future__ import annotations

from tallystick.boundary.stretches import Stretch, condition
from tallystick.boundary.trail import LONGEST_PAUSE, SHARED_FOR, Span, Trail


def test_without_a_batch_there_is_no_trail() -> None:
    assert Trail().start() is None


def test_the_next_batch_begins_where_the_last_one_ended() -> None:
    trail = Trail()
    trail.at(Span(1, 50))
    assert trail.start() == 50
    trail.at(Span(51, 90), Span(60, 100), None)
    assert trail.start() == 100


def test_batches_that_share_rows_begin_where_the_last_one_began_until_they_share_none_for_long() -> None:
    trail = Trail()
    trail.at(Span(1, 50))
    trail.at(Span(2, 100))
    for number in range(SHARED_FOR):
        assert trail.start() == (100 * number + 1 if number else 2)
        trail.at(Span(100 * number + 101, 100 * number + 200))
    assert trail.start() == 100 * SHARED_FOR + 100


def test_a_trail_that_is_lost_again_and_again_rests_for_longer_each_time() -> None:
    trail = Trail()
    trail.at(Span(1, 50))
    rests = []
    for _ in range(8):
        trail.lost()
        rests.append(0)
        while trail.start() is None:
            rests[-1] += 1
    assert rests == [2, 4, 8, 16, 32, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]
    trail.kept()
    trail.lost()
    assert [trail.start() for _ in range(3)] == [None, None, 50]


def test_the_condition_names_each_topic_once_and_its_text_depends_on_numbers_of_partitions_only() -> None:
    text, parameters = condition([Stretch("b", 7, 3, 9), Stretch("a", 0, 1, 2), Stretch("b", 1, 5, 6)])
    assert text == (
        "(topic = ? AND CASE partition WHEN ? THEN record_offset BETWEEN ? AND ? END OR topic = ? AND CASE partition"
        " WHEN ? THEN record_offset BETWEEN ? AND ? WHEN ? THEN record_offset BETWEEN ? AND ? END)"
    )
    assert parameters == ["a", 0, 1, 2, "b", 1, 5, 6, 7, 3, 9]
