"""Functions for single events: each is called for one event after the other, and once, however many fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
import pytest
from tests.unit.pipeline.fakes import record

from tallystick.errors import RetriableError
from tallystick.ids import derived_id, deterministic_id
from tallystick.pipeline import App, Context, Emit, ErrorPolicy, Poisoned, Topic, emit
from tallystick.pipeline.functions import FunctionProcessor
from tallystick.pipeline.outputs import Results
from tallystick.pipeline.polled import Polled


class Purchase(msgspec.Struct):
    n: int


SOURCE = Topic("in", Purchase)
TARGET = Topic("target", bytes)

Function = Callable[[Purchase, Context], Any]


def one(number: int) -> Emit:
    return emit(TARGET, b"%d" % number)


def results(function: Function, numbers: Iterable[int], *, tries: int = 2) -> Results:
    processor = FunctionProcessor("rate", [SOURCE], function, ErrorPolicy(tries=tries))
    return processor.process_all(Polled.of([record(n, b'{"n":%d}' % n) for n in numbers]))


def values(found: Results) -> list[bytes | None]:
    return [output.value for output in found.outputs]


def test_what_functions_return_is_numbered_and_stamped_as_its_input() -> None:
    found = results(lambda event, _context: one(event.n), range(3))
    records = [record(n) for n in range(3)]
    assert [output.event_id for output in found.outputs] == [derived_id(r.event_id, "rate", 0) for r in records]
    assert [output.timestamp_ms for output in found.outputs] == [r.timestamp_ms for r in records]


def test_a_function_may_return_now_one_now_none_and_now_some() -> None:
    def rate(event: Purchase, _context: Context) -> Emit | list[Emit] | None:
        return [one(event.n), None, [one(event.n), one(-event.n)]][event.n % 3]

    found = results(rate, range(6))
    assert values(found) == [b"0", b"2", b"-2", b"3", b"5", b"-5"]
    assert [output.event_id for output in found.outputs[1:3]] == [
        derived_id(record(2).event_id, "rate", ordinal) for ordinal in (0, 1)
    ]


def test_an_id_that_an_output_has_stays() -> None:
    own = deterministic_id("charge", 1)
    found = results(
        lambda event, _context: emit(TARGET, b"x", event_id=own) if event.n == 1 else one(event.n), range(3)
    )
    assert [output.event_id == own for output in found.outputs] == [False, True, False]


def test_a_failure_in_the_middle_calls_the_others_once_and_itself_as_often_as_its_tries() -> None:
    calls: list[int] = []

    def rate(event: Purchase, _context: Context) -> Emit:
        calls.append(event.n)
        if event.n in {2, 4}:
            raise ValueError(event.n)
        return one(event.n)

    found = results(rate, range(6), tries=3)
    assert calls == [0, 1, 2, 2, 2, 3, 4, 4, 4, 5]
    assert values(found) == [b"0", b"1", b"3", b"5"]
    assert [(before, verdict.record.offset, verdict.tries) for before, verdict in found.poisoned] == [
        (2, 2, 3),
        (3, 4, 3),
    ]


def test_a_value_that_does_not_decode_costs_the_others_nothing() -> None:
    calls: list[int] = []

    def rate(event: Purchase, _context: Context) -> Emit:
        calls.append(event.n)
        return one(event.n)

    processor = FunctionProcessor("rate", [SOURCE], rate, ErrorPolicy(tries=3))
    found = processor.process_all(
        Polled.of([record(n, b"?" if n in {1, 3} else b'{"n":%d}' % n) for n in range(5)]),
    )
    assert calls == [0, 2, 4]
    assert [verdict.record.offset for _, verdict in found.poisoned] == [1, 3]


def test_a_function_that_yields_is_done_with_one_event_before_the_next_begins() -> None:
    seen: list[str] = []

    def rate(event: Purchase, _context: Context) -> Iterator[Emit]:
        seen.append(f"begins {event.n}")
        yield one(event.n)
        seen.append(f"ends {event.n}")

    results(rate, range(2))
    assert seen == ["begins 0", "ends 0", "begins 1", "ends 1"]


def test_each_call_sees_the_context_of_its_own_record() -> None:
    found = results(lambda event, context: emit(TARGET, b"%d %d" % (event.n, context.offset)), range(4))
    assert values(found) == [b"%d %d" % (n, n) for n in range(4)]


def test_an_error_of_ours_ends_the_batch() -> None:
    def rate(event: Purchase, _context: Context) -> Emit:
        if event.n == 1:
            raise RetriableError("the price list is away")
        return one(event.n)

    with pytest.raises(RetriableError):
        results(rate, range(3))


def test_what_is_no_output_poisons_its_record_only() -> None:
    found = results(lambda event, _context: "?" if event.n == 1 else one(event.n), range(3))
    assert values(found) == [b"0", b"2"]
    ((_, verdict),) = found.poisoned
    assert isinstance(verdict, Poisoned)
    assert isinstance(verdict.cause, TypeError)


def test_a_function_that_raises_stop_iteration_poisons_its_record_only() -> None:
    def rate(event: Purchase, _context: Context) -> Emit:
        if event.n == 1:
            raise StopIteration
        return one(event.n)

    found = results(rate, range(3))
    assert values(found) == [b"0", b"2"]
    assert len(found.poisoned) == 1


def test_each_topic_of_a_step_is_decoded_by_its_own_type() -> None:
    other = Topic("other", str)
    app, seen = App("shop"), list[Any]()

    @app.step(source=[SOURCE, other])
    def rate(event: Any, _context: Context) -> Emit:
        seen.append(event)
        return one(0)

    records = [record(0, b'{"n":0}', topic="in"), record(0, b"text", topic="other")]
    app.steps[0].factory().process(records)
    processor = FunctionProcessor("rate", [SOURCE, other], rate, ErrorPolicy())
    processor.process_all(Polled.of(records))
    assert seen == [Purchase(0), "text", Purchase(0), "text"]
