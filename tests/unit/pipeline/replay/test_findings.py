"""One record's outputs beside what stands: same, changed, new, gone; and what makes a payload another one."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest
from tests.unit.pipeline.fakes import record

from tallystick.ids import EventId, derived_id, deterministic_id
from tallystick.pipeline.records import Headers, Output, Record
from tallystick.pipeline.replay import REPLACES_HEADER, REPLAY_HEADER, REVISION_HEADER, Verdict
from tallystick.pipeline.replay.corrections import Marks, correction, digest, told_late
from tallystick.pipeline.replay.findings import Counts, compare
from tallystick.pipeline.replay.written import Written

INPUT = record(7)


def output(ordinal: int, value: bytes = b"v", headers: Headers = ()) -> Output:
    return Output("out", b"k", value, derived_id(INPUT.event_id, "rate", ordinal), headers)


def stored(one: Output, offset: int = 0) -> Record:
    return Record(one.topic, 0, offset, one.key, one.value, one.headers, 1, one.event_id)


def verdicts(made: list[Output], standing: Iterable[Output]) -> list[tuple[Verdict, EventId]]:
    with Written() as written:
        written.add([stored(one, offset) for offset, one in enumerate(standing)])
        return [(one.verdict, one.event_id) for one in compare(INPUT, made, "rate", written.standing)]


def test_an_output_is_the_same_changed_or_new() -> None:
    same, changed, new = output(0), output(1), output(2)
    assert verdicts([same, changed, new], [same, output(1, b"other")]) == [
        (Verdict.SAME, same.event_id),
        (Verdict.CHANGED, changed.event_id),
        (Verdict.NEW, new.event_id),
    ]


def test_outputs_that_are_not_made_any_more_are_gone_wherever_their_places_were() -> None:
    before = [output(ordinal) for ordinal in range(4)]
    assert verdicts([before[0]], before)[1:] == [(Verdict.GONE, one.event_id) for one in before[1:]]
    assert verdicts([], before[:1]) == [(Verdict.GONE, before[0].event_id)]
    assert verdicts([], []) == []


def test_an_output_with_an_id_of_its_own_leaves_its_place_to_nobody() -> None:
    own = msgspec.structs.replace(output(0), event_id=deterministic_id("invoice", 1))
    assert verdicts([own, output(1)], [own, output(1)]) == [
        (Verdict.SAME, own.event_id),
        (Verdict.SAME, output(1).event_id),
    ]


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        (("t", b"k", b"v", (("a", b"1"),)), True),
        (("t", b"k", b"v", (("a", b"1"), ("tallystick-event-id", b"x"), ("traceparent", b"y"))), True),
        (("u", b"k", b"v", (("a", b"1"),)), False),
        (("t", None, b"v", (("a", b"1"),)), False),
        (("t", b"k", b"w", (("a", b"1"),)), False),
        (("t", b"k", None, (("a", b"1"),)), False),
        (("t", b"k", b"v", ()), False),
        (("t", b"k", b"v", (("a", b"2"),)), False),
    ],
)
def test_a_payload_is_topic_key_value_and_the_applications_headers(
    other: tuple[str, bytes | None, bytes | None, Headers], *, is_same: bool
) -> None:
    assert (digest("t", b"k", b"v", (("a", b"1"),)) == digest(*other)) is is_same


def test_a_correction_has_an_id_of_its_own_and_names_what_it_replaces() -> None:
    original = output(0, headers=(("a", b"1"),))
    made = correction(original, replay="march", revision=2)
    assert made.event_id == derived_id(original.event_id, "replay.march", 2)
    assert made.headers == (
        ("a", b"1"),
        (REPLAY_HEADER, b"march"),
        (REPLACES_HEADER, original.event_id.encode()),
        (REVISION_HEADER, b"2"),
    )
    assert Marks.of(made.event_id, made.headers) == Marks(original.event_id, 2, "march")
    late = told_late(original, replay="march")
    assert late.event_id == original.event_id
    assert Marks.of(late.event_id, late.headers) == Marks(original.event_id, 0, "march")


def test_what_another_program_wrote_into_the_headers_corrects_nothing() -> None:
    own = output(0).event_id
    for headers in (((REPLACES_HEADER, b"no id"), (REVISION_HEADER, b"1")), ((REPLACES_HEADER, own.encode()),)):
        assert Marks.of(own, headers) == Marks(own, 0, None)


def test_the_newest_correction_stands_in_whatever_order_they_are_read() -> None:
    original = output(0)
    first, second = (correction(output(0, value), replay="x", revision=n) for n, value in ((1, b"b"), (2, b"c")))
    for order in ([original, first, second], [second, original, first]):
        assert verdicts([output(0, b"c")], order) == [(Verdict.SAME, original.event_id)]
        assert verdicts([original], order) == [(Verdict.CHANGED, original.event_id)]


def test_an_input_that_came_twice_has_its_outputs_written_once() -> None:
    with Written() as written:
        assert [written.is_first(output(n).event_id) for n in (0, 0, 1, 0)] == [True, False, True, False]


def test_counts_are_by_topic() -> None:
    counts = Counts()
    with Written() as written:
        for one in compare(INPUT, [output(0), output(1)], "rate", written.standing):
            counts.add(one)
    assert (counts[Verdict.NEW], counts[Verdict.SAME]) == (2, 0)
    assert counts.by_topic["out"][Verdict.NEW] == 2
