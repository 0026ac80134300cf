"""Batch functions: one result for each input, and a record that does not decode leaves the others alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from tests.unit.pipeline.fakes import batch, record

from tallystick.errors import ConfigurationError, RetriableError
from tallystick.ids import derived_id, deterministic_id
from tallystick.pipeline import App, BatchContext, Emit, Emits, ErrorPolicy, Output, Poisoned, Topic, emit, emit_each
from tallystick.pipeline.batch_functions import BatchResult
from tallystick.pipeline.step import BatchFunction
from tallystick.pipeline.work import BatchWork, WorkFailed, WorkPostponed, WorkStopped


class Purchase(msgspec.Struct):
    n: int


SOURCE = Topic("in", Purchase)
TARGET = Topic("target", bytes)
ERRORS = ErrorPolicy(tries=1)


def work(function: BatchFunction[Purchase]) -> BatchWork:
    app = App("shop")
    app.batch(source=SOURCE, name="rate", on_error=ERRORS)(function)
    return BatchWork(app.steps[0].factory(), step="rate", policy=ERRORS, dead_letter_topic="dead")


def each(events: list[Purchase], context: BatchContext) -> Emits:
    return emit_each(TARGET, [b"%d" % event.n for event in events], keys=context.keys)


def listed(events: list[Purchase], context: BatchContext) -> BatchResult:
    return [emit(TARGET, b"%d" % event.n, key=key) for event, key in zip(events, context.keys, strict=True)]


def returning(result: Any) -> BatchFunction[Purchase]:
    return lambda _events, _context: result


def purchases(*numbers: int, bad: Sequence[int] = ()) -> Sequence[Output]:
    """What ``rate`` has to make of these, with dead letters for the bad ones."""
    records = [record(n, b"?" if n in bad else b'{"n":%d}' % n) for n in numbers]
    return [
        Output("dead", b"key", one.value, derived_id(one.event_id, "rate.dead-letter", 0))
        if one.value == b"?"
        else Output(
            "target", b"key", b"%d" % one.offset, derived_id(one.event_id, "rate", 0), timestamp_ms=one.timestamp_ms
        )
        for one in records
    ]


def done(function: BatchFunction[Purchase], *numbers: int, bad: Sequence[int] = ()) -> list[Output]:
    records = [record(n, b"?" if n in bad else b'{"n":%d}' % n) for n in numbers]
    outputs, _dead = work(function).process(batch(*records))
    return [msgspec.structs.replace(one, headers=()) for one in outputs]


@pytest.mark.parametrize("function", [each, listed])
@pytest.mark.parametrize("bad", [(), (1,), (3,), (2, 3), (1, 2, 3)])
def test_every_input_has_its_output_in_its_place(function: BatchFunction[Purchase], bad: Sequence[int]) -> None:
    assert done(function, 1, 2, 3, bad=bad) == purchases(1, 2, 3, bad=bad)


@pytest.mark.parametrize("function", [each, listed])
def test_a_batch_function_is_a_processor_like_any_other(function: BatchFunction[Purchase]) -> None:
    app = App("shop")
    app.batch(source=SOURCE, name="rate")(function)
    first, broken, last = (
        app.steps[0].factory().process([record(1, b'{"n":1}'), record(2, b"?"), record(3, b'{"n":3}')])
    )
    assert isinstance(broken, Poisoned)
    assert "in-0@2" in str(broken.cause)
    assert [first, last] == [[one] for one in purchases(1, 3)]


def test_an_input_may_have_no_output_or_many_or_one_with_an_id_of_its_own() -> None:
    own = deterministic_id("invoice", 1)

    def rate(events: list[Purchase], context: BatchContext) -> BatchResult:
        return [None, [emit(TARGET, b"a"), emit(TARGET, b"b")], emit(TARGET, b"c", event_id=own)]

    second = record(2).event_id
    assert [one.event_id for one in done(rate, 1, 2, 3)] == [
        derived_id(second, "rate", 0),
        derived_id(second, "rate", 1),
        own,
    ]


def test_a_batch_context_knows_each_record() -> None:
    seen: list[BatchContext] = []

    def rate(events: list[Purchase], context: BatchContext) -> BatchResult:
        seen.append(context)
        return [None for _ in events]

    done(rate, 1, 2, 3, bad=[2])
    (context,) = seen
    assert context.event_ids == [record(1).event_id, record(3).event_id]
    assert context.derived_ids(1) == [derived_id(one, "rate", 1) for one in context.event_ids]
    assert (len(context), context[1].offset, context[-1].event_id) == (2, 3, record(3).event_id)


@pytest.mark.parametrize("results", [0, 1, 3])
def test_another_number_of_results_than_of_inputs_stops_the_worker(results: int) -> None:
    for made in ([emit(TARGET, b"x")] * results, emit_each(TARGET, [b"x"] * results)):
        with pytest.raises(WorkStopped, match="rule 25") as stopped:
            work(returning(made)).process(batch(record(1, b'{"n":1}'), record(2, b'{"n":2}')))
        assert isinstance(stopped.value.cause, ConfigurationError)


def test_a_batch_that_fails_is_told_apart_record_by_record() -> None:
    def rate(events: list[Purchase], context: BatchContext) -> Emits:
        if any(event.n == 2 for event in events):
            raise ValueError("two")
        return each(events, context)

    doing = work(rate)
    records = [record(n, b'{"n":%d}' % n) for n in (1, 2, 3)]
    with pytest.raises(WorkFailed):
        doing.process(batch(*records))
    assert doing.failures.isolating
    outputs = []
    for one in records:
        made, _dead = doing.process(batch(one))
        outputs += [output.topic for output in made]
        doing.finished(batch(one))
    assert outputs == ["target", "dead", "target"]
    assert not doing.failures.isolating


def test_what_a_decoder_needs_and_is_away_blames_no_record() -> None:
    class Away:
        def encode(self, value: bytes) -> bytes:
            return value

        def decode(self, raw: bytes) -> bytes:
            raise RetriableError("the registry is away")

    app = App("shop")
    app.batch(source=Topic("in", bytes, serde=Away()), name="rate")(lambda events, _context: [None] * len(events))
    doing = BatchWork(app.steps[0].factory(), step="rate", policy=ERRORS, dead_letter_topic="dead")
    with pytest.raises(WorkPostponed):
        doing.process(batch(record(1)))


def test_a_result_that_is_no_emit_is_told_so() -> None:
    with pytest.raises(WorkFailed, match=r"emit\(\.\.\.\)"):
        work(returning([b"x", b"y"])).process(batch(record(1, b'{"n":1}'), record(2, b'{"n":2}')))


def test_as_many_keys_as_values_or_none() -> None:
    assert emit_each(TARGET, [b"a", b"b"], keys=["ü", None]) == Emits("target", ["ü".encode(), None], [b"a", b"b"])
    assert emit_each(TARGET, [b"a"]).keys == [None]
    with pytest.raises(ValueError, match="2 values with 1 keys"):
        emit_each(TARGET, [b"a", b"b"], keys=["x"])
    assert isinstance(emit(TARGET, b"a"), Emit)
