"""Each checker against a sound history and against a history that is broken in exactly its way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tallystick.verify.oracle import (
    Expected,
    Finding,
    Position,
    Seen,
    StableSample,
    StateCell,
    TopicView,
    effects,
    examine,
    stable,
    state,
)

SOURCE, SINK = "in", "out"


def expected_outputs(events: int = 4) -> list[Expected]:
    """Two keys, two outputs for each event: the fan-out workload in small."""
    return [
        Expected(
            topic=SINK,
            identity=f"event-{event}/{ordinal}",
            key=b"key-%d" % (event % 2),
            group=f"event-{event}",
            sequence=event * 2 + ordinal,
            source=Position(SOURCE, event % 2, event // 2),
            body_hash=f"hash-{event}-{ordinal}",
        )
        for event in range(events)
        for ordinal in range(2)
    ]


def seen_outputs(expected: list[Expected]) -> list[Seen]:
    """What a flawless run shows: one partition for each key, in order."""
    ends = {0: 0, 1: 0}
    seen = []
    for output in expected:
        partition = int((output.key or b"0")[-1:])
        seen.append(
            Seen(Position(SINK, partition, ends[partition]), output.key, output.identity, output.body_hash or "")
        )
        ends[partition] += 1
    return seen


def view_of(committed: list[Seen], *, uncommitted: list[Seen] | None = None, open_records: int = 0) -> TopicView:
    raw = committed if uncommitted is None else uncommitted
    ends = {0: 0, 1: 0}
    for record in raw:
        ends[record.position.partition] = max(ends[record.position.partition], record.position.offset + 1)
    high = dict(ends)
    high[0] += open_records
    return TopicView(SINK, tuple(committed), tuple(raw), last_stable_offsets=ends, high_watermarks=high)


ALL_CONSUMED = {(SOURCE, 0): 2, (SOURCE, 1): 2}


def broken(expected: list[Expected], seen: list[Seen]) -> dict[str, int]:
    """The checkers that object, with their counts."""
    report = examine(expected, [view_of(seen)], next_offsets=ALL_CONSUMED)
    return {finding.checker: finding.count for finding in report.findings if not finding.passed}


def test_a_sound_history_passes() -> None:
    expected = expected_outputs()
    report = examine(expected, [view_of(seen_outputs(expected))], next_offsets=ALL_CONSUMED)
    assert report.passed
    assert (report.expected, report.seen, report.right) == (8, 8, 8)


def test_nothing_expected_is_no_success() -> None:
    assert not examine([], [view_of([])]).passed


def test_an_output_that_is_missing_is_lost_and_tears_its_group() -> None:
    expected = expected_outputs()
    assert broken(expected, seen_outputs(expected)[:-1]) == {"lost": 1, "torn": 1, "torn-from-offsets": 1}


def test_a_whole_missing_group_is_lost_but_not_torn() -> None:
    expected = expected_outputs()
    assert broken(expected, seen_outputs(expected)[:-2]) == {"lost": 2, "torn-from-offsets": 2}


def test_a_second_appearance_is_repeated_and_not_right() -> None:
    expected = expected_outputs()
    seen = seen_outputs(expected)
    again = replace(seen[0], position=Position(SINK, 0, 90))
    thrice = replace(seen[0], position=Position(SINK, 0, 91))
    report = examine(expected, [view_of([*seen, again, thrice])])
    assert (report.repeated, report.lost, report.right) == (2, 0, 7)
    assert not report.passed


def test_a_record_that_no_input_explains_is_unexpected() -> None:
    expected = expected_outputs()
    stranger = Seen(Position(SINK, 0, 90), b"key-0", "stranger", "x")
    assert broken(expected, [*seen_outputs(expected), stranger]) == {"unexpected": 1}


def test_the_right_identity_in_the_wrong_topic_is_lost_here_and_unexpected_there() -> None:
    expected = expected_outputs()
    seen = seen_outputs(expected)
    elsewhere = replace(seen[1], position=Position("other", 0, 0))
    found = broken(expected, [elsewhere, seen[0], *seen[2:]])
    assert (found["lost"], found["unexpected"]) == (1, 1)


@pytest.mark.parametrize("change", [{"body_hash": "other"}, {"key": b"key-7"}])
def test_another_value_or_key_under_the_same_identity_is_altered(change: dict[str, object]) -> None:
    expected = expected_outputs()
    seen = seen_outputs(expected)
    seen[3] = replace(seen[3], **change)  # type: ignore[arg-type]
    assert broken(expected, seen) == {"altered": 1}


def test_an_expectation_without_a_body_accepts_any() -> None:
    expected = [replace(output, body_hash=None) for output in expected_outputs()]
    assert broken(expected, seen_outputs(expected_outputs())) == {}


def test_swapped_outputs_of_one_key_break_the_order() -> None:
    expected = expected_outputs()
    seen = seen_outputs(expected)
    first, second = seen[0], seen[1]
    seen[0] = replace(first, position=second.position)
    seen[1] = replace(second, position=first.position)
    assert broken(expected, seen) == {"order": 1}


def test_a_replay_of_earlier_outputs_is_repeated_but_no_break_of_the_order() -> None:
    expected = expected_outputs()
    seen = seen_outputs(expected)
    replay = [replace(record, position=Position(SINK, 0, 90 + at)) for at, record in enumerate(seen[:2])]
    assert broken(expected, [*seen, *replay]) == {"repeated": 2}


def test_one_key_in_two_partitions_breaks_the_order() -> None:
    expected = expected_outputs()
    seen = seen_outputs(expected)
    moved = next(at for at, record in enumerate(seen) if record.position == Position(SINK, 0, 3))
    seen[moved] = replace(seen[moved], position=Position(SINK, 1, 90))
    assert broken(expected, seen) == {"order": 1}


def test_outputs_whose_input_is_not_consumed_are_torn_from_the_offsets() -> None:
    expected = expected_outputs()
    report = examine(expected, [view_of(seen_outputs(expected))], next_offsets={(SOURCE, 0): 2, (SOURCE, 1): 1})
    assert report.count("torn-from-offsets") == 2
    assert not report.passed


def test_an_input_without_any_committed_offset_counts_as_not_consumed() -> None:
    expected = expected_outputs()
    report = examine(expected, [view_of([])], next_offsets={})
    assert report.count("torn-from-offsets") == 0
    assert report.lost == 8


def test_an_aborted_record_that_becomes_visible_is_found() -> None:
    expected = expected_outputs()
    seen = seen_outputs(expected)
    before = view_of(seen[:-1], uncommitted=seen)
    assert before.aborted == {seen[-1].position}
    report = examine(expected, [view_of(seen)], known_aborted=before.aborted)
    assert report.count("aborted-visible") == 1
    assert not report.passed


def test_records_of_an_open_transaction_are_not_taken_for_aborted() -> None:
    seen = seen_outputs(expected_outputs())
    view = TopicView(SINK, (), tuple(seen), last_stable_offsets={0: 0, 1: 0}, high_watermarks={0: 4, 1: 4})
    assert view.aborted == frozenset()
    assert view.open_partitions == (0, 1)


def test_a_record_that_was_visible_and_is_gone_has_vanished() -> None:
    expected = expected_outputs()
    seen = seen_outputs(expected)
    report = examine(expected, [view_of(seen[:-1])], earlier=[view_of(seen)])
    assert report.count("vanished") == 1


def test_a_committed_record_that_is_not_in_the_log_has_vanished() -> None:
    expected = expected_outputs()
    seen = seen_outputs(expected)
    report = examine(expected, [view_of(seen, uncommitted=seen[1:])])
    assert report.count("vanished") == 1


def test_a_transaction_left_open_fails_the_run() -> None:
    expected = expected_outputs()
    report = examine(expected, [view_of(seen_outputs(expected), open_records=3)])
    assert report.count("open") == 1
    assert not report.passed


def test_rows_outside_kafka_are_judged_by_the_same_checkers() -> None:
    row = Expected("sql:effect", "event-0", b"key-0", group="row-0", sequence=0)
    seen = [Seen(Position("sql:effect", 0, at), b"key-0", "event-0", "") for at in (1, 2)]
    report = examine([row], [], rows=seen)
    assert (report.right, report.repeated) == (0, 1)


def test_two_expectations_of_one_output_are_refused() -> None:
    expected = expected_outputs()
    with pytest.raises(ValueError, match="expected twice"):
        examine([*expected, expected[0]], [])


def test_a_finding_shows_its_shortest_examples() -> None:
    finding = Finding.of("lost", ["four", "a", "ccc", "bb", "ddddd"])
    assert (finding.count, finding.examples) == (5, ("a", "bb", "ccc"))


def test_the_report_is_plain_json_and_names_every_checker() -> None:
    expected = expected_outputs()
    plain = examine(expected, [view_of(seen_outputs(expected)[:-1])]).to_json()
    assert plain["passed"] is False
    assert plain["findings"]["lost"]["count"] == 1
    assert plain["findings"]["repeated"] == {"count": 0, "examples": []}


def sample(at_ms: int, stable: int, high: int) -> StableSample:
    return StableSample(at_ms, SINK, 0, stable, high)


def test_a_last_stable_offset_that_stands_still_below_the_end_for_too_long_is_stuck() -> None:
    looks = [sample(second * 1_000, 5, 9) for second in range(12)]
    found = stable.check(looks, limit_ms=10_000)
    assert found.count == 1
    assert "out-0 stood at 5 of 9" in found.examples[0]


@pytest.mark.parametrize(
    "looks",
    [
        [sample(second * 1_000, 5 + second // 6, 90) for second in range(30)],
        [sample(second * 1_000, 5, 5) for second in range(30)],
        [sample(second * 20_000, 5, 9) for second in range(30)],
    ],
    ids=["it moves", "nothing is open", "nobody could look"],
)
def test_a_last_stable_offset_that_moves_or_was_not_seen_standing_is_not_stuck(looks: list[StableSample]) -> None:
    assert stable.check(looks, limit_ms=10_000).passed


@pytest.mark.parametrize("found", [None, "6"])
def test_a_state_that_is_not_the_fold_of_its_inputs_is_found(found: str | None) -> None:
    cells = [StateCell("balances", "a", "5", "5"), StateCell("balances", "b", "7", found)]
    assert state.check(cells).count == 1
    assert state.check(cells[:1]).passed


def effects_of(rows: list[str], seen: list[str]) -> int:
    expected = [
        Expected(topic, event, None, group=event, sequence=0) for event in ("a", "b") for topic in ("sql:rows", SINK)
    ]
    return effects.check(
        expected,
        [Seen(Position(SINK, 0, at), None, event, "") for at, event in enumerate(seen)],
        [Seen(Position("sql:rows", 0, at), None, event, "") for at, event in enumerate(rows)],
    ).count


def test_rows_and_outputs_must_tell_of_the_same_events() -> None:
    assert effects_of(["a", "b"], ["a", "b"]) == 0
    assert effects_of(["a"], ["a"]) == 0  # the other one is lost on both sides, which another checker says
    assert effects_of(["a"], ["a", "b"]) == 1
    assert effects_of(["a", "b"], ["a"]) == 1
    assert effects_of(["a", "a", "b"], ["a", "b"]) == 1


def test_a_record_of_an_aborted_transaction_that_a_reader_showed_meanwhile_is_found() -> None:
    expected = expected_outputs()
    seen = seen_outputs(expected)
    later = view_of(seen[:-1], uncommitted=seen)
    report = examine(expected[:-1], [later], earlier=[view_of(seen)])
    assert report.count("aborted-visible") == 1
    assert report.count("vanished") == 0
