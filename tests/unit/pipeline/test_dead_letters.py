"""Letters read back from what ``failures`` wrote, and the receipts that settle them."""

from __future__ import annotations

import pytest

from tallystick.errors import ConfigurationError
from tallystick.ids import EVENT_ID_HEADER, deterministic_id
from tallystick.pipeline.dead_letters import DeadLetter, Letters
from tallystick.pipeline.failures import dead_letter
from tallystick.pipeline.records import Output, Record

ID = deterministic_id("test", 1)
ORIGINAL = Record("in", 3, 41, b"k", b"v", (("tenant", b"a"), (EVENT_ID_HEADER, ID.encode())), 1_700_000_000_000, ID)


def written(output: Output, *, partition: int = 0, offset: int = 0) -> Record:
    """As a reader finds what was sent."""
    headers = ((EVENT_ID_HEADER, output.event_id.encode()), *(h for h in output.headers if h[0] != EVENT_ID_HEADER))
    return Record(output.topic, partition, offset, output.key, output.value, headers, 5, output.event_id)


def a_letter(offset: int = 0) -> Record:
    return written(dead_letter(ORIGINAL, ValueError("no"), topic="dead", step="rate", tries=3), offset=offset)


def read(record: Record) -> DeadLetter:
    letter = DeadLetter.of(record)
    assert letter is not None
    return letter


def test_a_letter_says_where_its_original_stood_and_why_it_failed() -> None:
    letter = read(a_letter())
    assert (letter.topic, letter.partition, letter.offset, letter.event_id) == ("in", 3, 41, ID)
    assert (letter.step, letter.tries, letter.cause) == ("rate", 3, "builtins.ValueError: no")
    assert "ValueError: no" in letter.stack


def test_what_goes_back_is_the_original() -> None:
    back = read(a_letter()).back(b"v")
    assert written(back, partition=3, offset=41).headers == ((EVENT_ID_HEADER, ID.encode()), ("tenant", b"a"))
    assert (back.topic, back.partition, back.key, back.value) == ("in", 3, b"k", b"v")
    assert (back.timestamp_ms, back.event_id) == (1_700_000_000_000, ID)


def test_a_receipt_settles_its_letter_and_no_other() -> None:
    first, second = a_letter(0), a_letter(7)
    receipt = written(read(first).receipt(changed=True), offset=8)
    letters = Letters.of([receipt, second, first])
    assert [letter.place for letter in letters.open] == ["0@7"]
    assert [letter.place for letter in letters.settled] == ["0@0"]
    assert letters.others == 0


def test_what_another_program_wrote_is_counted_and_left_alone() -> None:
    strange = Record("dead", 0, 3, None, b"x", (("tallystick-failure-cause", b"\xff"),), 0, ID)
    assert Letters.of([strange, a_letter()]).others == 1


def test_a_letter_is_named_by_its_place_or_by_its_event() -> None:
    letters = Letters.of([a_letter(0), a_letter(7)])
    assert [letter.place for letter in letters.chosen(["0@7"])] == ["0@7"]
    assert [letter.place for letter in letters.chosen([ID])] == ["0@0", "0@7"]
    with pytest.raises(ConfigurationError, match="no open dead letter 0@1"):
        letters.chosen(["0@1"])
