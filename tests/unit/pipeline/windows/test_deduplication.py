"""The first event of each id is processed, and no other."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.pipeline.windows.partition import Partition, values

from tallystick.pipeline import App, Context, Emit, Topic, emit
from tallystick.pipeline.windows import Deduplication, LateEvent

OUT = Topic("out", bytes)
SPAN_MS = 6_400


def copy(event: bytes, _context: Context) -> Emit:
    if event == b"bad":
        raise ValueError(event)
    return emit(OUT, event)


@pytest.fixture
def deduplication() -> Deduplication:
    return Deduplication("step", timedelta(milliseconds=SPAN_MS), copy)


def test_an_event_is_processed_once_in_the_span(tmp_path: Path, deduplication: Deduplication) -> None:
    made = Partition(tmp_path, deduplication, [deduplication.store])
    assert values(made.feed(b"k", 1_000, b"first", identity="one")) == [b"first"]
    assert made.feed(b"k", 1_500, b"again", identity="one") == []
    made.commit()
    assert made.feed(b"other key", 1_000 + SPAN_MS, b"again", identity="one") == []
    assert values(made.feed(b"k", 1_600, b"second", identity="two")) == [b"second"]
    made.commit()
    assert made.lane.duplicates == 2
    made.close()


def test_what_was_aborted_was_not_seen(tmp_path: Path, deduplication: Deduplication) -> None:
    made = Partition(tmp_path, deduplication, [deduplication.store])
    made.feed(b"k", 1_000, b"first", identity="one")
    made.abort()
    assert values(made.feed(b"k", 1_000, b"first", identity="one")) == [b"first"]
    made.close()


def test_what_failed_was_not_processed(tmp_path: Path, deduplication: Deduplication) -> None:
    made = Partition(tmp_path, deduplication, [deduplication.store])
    made.feed(b"k", 1_000, b"bad", identity="one")
    assert values(made.feed(b"k", 1_000, b"mended", identity="one")) == [b"mended"]
    made.close()


def test_an_event_older_than_the_span_is_not_processed_unnoticed(tmp_path: Path, deduplication: Deduplication) -> None:
    made = Partition(tmp_path, deduplication, [deduplication.store])
    made.feed(b"k", 1_000 + SPAN_MS, b"first")
    assert made.feed(b"k", 1_000, b"old") == []
    assert [type(one) for one in made.poisoned] == [LateEvent]
    made.close()


def test_ids_are_forgotten_after_the_span(tmp_path: Path, deduplication: Deduplication) -> None:
    made = Partition(tmp_path, deduplication, [deduplication.store])
    for number in range(200):
        made.feed(b"k", 1_000 + number * 100, b"x")
        made.commit()
    assert SPAN_MS / 100 <= len(made.entries(deduplication.store)) <= SPAN_MS / 100 + 3
    made.close()


def test_it_is_one_line_in_an_application() -> None:
    app = App("shop")
    app.step(source=Topic("in", bytes), deduplicate=timedelta(days=7))(copy)
    (step,) = app.steps
    assert step.state is not None
    assert [store.name for store in step.state.stores] == ["deduplicate"]
