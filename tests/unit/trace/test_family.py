"""What was made of an event, found by ids alone."""

from __future__ import annotations

from tallystick.ids import derived_id, deterministic_id
from tallystick.trace.topics import Index

EVENT = deterministic_id("order", 17)
OUTPUT = derived_id(EVENT, "rate", 1)
OUTPUT_OF_THE_OUTPUT = derived_id(OUTPUT, "book", 0)


def test_outputs_of_outputs_are_of_the_family() -> None:
    index = Index(records={OUTPUT: [], OUTPUT_OF_THE_OUTPUT: []})
    assert index.family(EVENT, ["book", "rate"]) == {
        EVENT: "the event",
        OUTPUT: "output 1 of step rate",
        OUTPUT_OF_THE_OUTPUT: "output 0 of step book",
    }


def test_a_text_that_is_no_event_id_is_looked_for_and_has_no_outputs() -> None:
    for text in ("order-17", "", EVENT.upper()):
        assert Index(records={OUTPUT: []}).family(text, ["rate"]) == {text: "the event"}
