"""Event time: an output inherits its input's timestamp, whatever makes it; an explicit one wins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest
from tests.unit.pipeline.fakes import batch, record

from tallystick.pipeline import (
    App,
    BatchContext,
    Context,
    Emit,
    Emits,
    ErrorPolicy,
    Idempotent,
    Output,
    Record,
    Topic,
    emit_each,
)
from tallystick.pipeline import emit as emit_one
from tallystick.pipeline.batch import Batch
from tallystick.pipeline.polled import Polled
from tallystick.pipeline.work import BatchWork

SOURCE = Topic("in", bytes)
TARGET = Topic("target", bytes)
OWN_MS = 77
ERRORS = ErrorPolicy(tries=1)

Declare = Callable[[App], Any]


def returning(app: App) -> None:
    @app.step(source=SOURCE, name="step")
    def step(event: bytes, _context: Context) -> Emit:
        return emit_one(TARGET, event)


def yielding(app: App) -> None:
    @app.step(source=SOURCE, name="step")
    def step(event: bytes, _context: Context) -> Iterator[Emit]:
        yield emit_one(TARGET, event)
        yield emit_one(TARGET, event, timestamp_ms=OWN_MS)


def failing_once(app: App) -> None:
    seen: set[bytes] = set()

    @app.step(source=SOURCE, name="step", on_error=ErrorPolicy(tries=2))
    def step(event: bytes, _context: Context) -> Emit:
        if event not in seen:
            seen.add(event)
            raise ValueError("first")
        return emit_one(TARGET, event)


def waiting(app: App) -> None:
    @app.step(source=SOURCE, name="step")
    async def step(event: bytes, _context: Context) -> Emit:
        return emit_one(TARGET, event)


def listing(app: App) -> None:
    @app.batch(source=SOURCE, name="step")
    def step(events: list[bytes], _context: BatchContext) -> Sequence[Emit]:
        return [emit_one(TARGET, event) for event in events]


def each(app: App) -> None:
    @app.batch(source=SOURCE, name="step")
    def step(events: list[bytes], _context: BatchContext) -> Emits:
        return emit_each(TARGET, events)


class Effect:
    """A processor whose outputs say nothing about time, but the second of each record."""

    idempotent = Idempotent.NO_EFFECT

    def process(self, records: Sequence[Record]) -> Sequence[Sequence[Output]]:
        return [
            [Output("target", None, b"", one.event_id), Output("target", None, b"", one.event_id, timestamp_ms=OWN_MS)]
            for one in records
        ]

    def close(self) -> None: ...


def processing(app: App) -> None:
    app.add("step", [SOURCE], Effect())


def outputs(declare: Declare, *records: Record) -> list[int | None]:
    app = App("shop")
    declare(app)
    work = BatchWork(app.steps[0].factory(), step="step", policy=ERRORS, dead_letter_topic="dead")
    polled = Batch(Polled.of(records), {}, {})
    try:
        made, _dead = work.process(polled)
    finally:
        work.close()
    return [one.timestamp_ms for one in made]


@pytest.mark.parametrize("declare", [returning, failing_once, waiting, listing, each])
def test_an_output_inherits_the_timestamp_of_its_input(declare: Declare) -> None:
    assert outputs(declare, record(1, b"a"), record(2, b"b"), record(3, b"c")) == [1001, 1002, 1003]


@pytest.mark.parametrize("declare", [yielding, processing])
def test_a_timestamp_of_its_own_stays(declare: Declare) -> None:
    assert outputs(declare, record(1, b"a"), record(2, b"b")) == [1001, OWN_MS, 1002, OWN_MS]


@pytest.mark.parametrize("declare", [returning, waiting, listing, each])
def test_an_input_without_a_timestamp_has_none_to_hand_on(declare: Declare) -> None:
    without = msgspec.structs.replace(record(2, b"b"), timestamp_ms=-1)
    assert outputs(declare, record(1, b"a"), without) == [1001, None]


def test_a_record_that_does_not_decode_moves_no_timestamp_to_another() -> None:
    app = App("shop")

    @app.batch(source=Topic("in", int), name="step", on_error=ERRORS)
    def step(events: list[int], _context: BatchContext) -> Emits:
        return emit_each(TARGET, [b"%d" % event for event in events])

    work = BatchWork(app.steps[0].factory(), step="step", policy=ERRORS, dead_letter_topic="dead")
    made, dead = work.process(batch(record(1, b"1"), record(2, b"?"), record(3, b"3")))
    assert dead == 1
    assert [(one.topic, one.timestamp_ms) for one in made] == [("target", 1001), ("dead", None), ("target", 1003)]
