"""Coroutine functions: many wait at once, each key in its order, everything before the batch is done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest
from tests.unit.pipeline.fakes import batch, record

from tallystick.errors import ConfigurationError, FatalError, RetriableError
from tallystick.ids import derived_id
from tallystick.pipeline import App, BatchContext, Context, Emit, Emits, ErrorPolicy, Poisoned, Record, Topic, emit
from tallystick.pipeline import emit_each as each
from tallystick.pipeline.async_functions import AsyncFunctionProcessor
from tallystick.pipeline.work import BatchWork, WorkPostponed, WorkStopped

SOURCE = Topic("in", int)
TARGET = Topic("target", int)
TRIES = ErrorPolicy(tries=2)


def keyed(offset: int, key: bytes | None, value: bytes | None = None) -> Record:
    return msgspec.structs.replace(record(offset, b"%d" % offset if value is None else value), key=key)


def work(function: Any, **options: Any) -> BatchWork:
    app = App("shop")
    app.step(source=SOURCE, name="rate", on_error=TRIES, **options)(function)
    return BatchWork(app.steps[0].factory(), step="rate", policy=TRIES, dead_letter_topic="dead")


def done(function: Any, records: Sequence[Record], **options: Any) -> list[tuple[str, bytes | None]]:
    doing = work(function, **options)
    try:
        outputs, _dead = doing.process(batch(*records))
    finally:
        doing.close()
    return [(output.topic, output.value) for output in outputs]


def test_different_keys_wait_together_and_outputs_stand_in_the_order_of_the_inputs() -> None:
    together = asyncio.Barrier(4)  # nobody passes until all four are there

    async def rate(event: int, context: Context) -> Emit:
        await together.wait()
        for _turn in range(10 - event):
            await asyncio.sleep(0)
        return emit(TARGET, event)

    records = [keyed(n, b"%d" % n if n < 2 else None) for n in range(4)]
    assert done(rate, records) == [("target", b"%d" % n) for n in range(4)]


def test_records_of_one_key_follow_each_other() -> None:
    begun: list[int] = []
    ended: list[int] = []

    async def rate(event: int, context: Context) -> None:
        assert [one for one in begun if one % 2 == event % 2] == [one for one in ended if one % 2 == event % 2]
        begun.append(event)
        await asyncio.sleep(0)
        ended.append(event)

    done(rate, [keyed(n, b"%d" % (n % 2)) for n in range(10)])
    assert sorted(ended) == list(range(10))
    assert [one for one in ended if one % 2] == [1, 3, 5, 7, 9]


def test_no_more_wait_together_than_are_allowed() -> None:
    waiting = most = 0

    async def rate(event: int, context: Context) -> None:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        await asyncio.sleep(0)
        waiting -= 1

    done(rate, [keyed(n, None) for n in range(20)], concurrency=3)
    assert most == 3
    for concurrency in (0, 100_001):
        with pytest.raises(ConfigurationError, match="concurrency"):
            App("shop").step(source=SOURCE, concurrency=concurrency)(rate)


def test_a_coroutine_may_yield_and_its_ids_are_those_of_any_function() -> None:
    async def rate(event: int, context: Context) -> AsyncIterator[Emit]:
        yield emit(TARGET, event)
        await asyncio.sleep(0)
        yield emit(TARGET, -event)

    doing = work(rate)
    outputs, _dead = doing.process(batch(keyed(1, b"a"), keyed(2, b"b")))
    doing.close()
    parents = [record(1).event_id, record(2).event_id]
    assert [one.event_id for one in outputs] == [derived_id(one, "rate", n) for one in parents for n in (0, 1)]


def test_a_record_that_fails_is_tried_again_and_its_neighbours_are_not() -> None:
    calls: list[int] = []

    async def rate(event: int, context: Context) -> Emit:
        calls.append(event)
        await asyncio.sleep(0)
        if event == 2 or (event == 1 and calls.count(1) < 2):
            raise ValueError(event)
        return emit(TARGET, event)

    records = [keyed(0, None), keyed(1, None), keyed(2, None), keyed(3, None, b"?")]
    outputs = done(rate, records)
    assert outputs == [("target", b"0"), ("target", b"1"), ("dead", b"2"), ("dead", b"?")]
    assert sorted(calls) == [0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("error", "verdict"), [(RetriableError("away"), WorkPostponed), (FatalError("x"), WorkStopped)]
)
def test_an_error_of_ours_ends_what_waits_and_decides_for_the_batch(error: Exception, verdict: type[Exception]) -> None:
    ended: list[int] = []

    async def rate(event: int, context: Context) -> None:
        try:
            if event == 3:
                raise error
            await asyncio.Event().wait()
        finally:
            ended.append(event)

    with pytest.raises(verdict):
        done(rate, [keyed(n, None) for n in range(5)])
    assert sorted(ended) == [0, 1, 2, 3, 4]


def test_one_loop_serves_all_batches_of_a_lane() -> None:
    loops: set[int] = set()

    async def rate(event: int, context: Context) -> None:
        loops.add(id(asyncio.get_running_loop()))

    doing = work(rate)
    for offset in range(3):
        doing.process(batch(keyed(offset, None)))
    doing.close()
    assert len(loops) == 1


def test_a_batch_function_may_be_a_coroutine() -> None:
    app = App("shop")

    @app.batch(source=SOURCE, name="rate")
    async def rate(events: list[int], context: BatchContext) -> Emits:
        doubled = await asyncio.gather(*(asyncio.sleep(0, 2 * event) for event in events))
        return each(TARGET, doubled, keys=context.keys)

    doing = BatchWork(app.steps[0].factory(), step="rate", policy=TRIES, dead_letter_topic="dead")
    outputs, _dead = doing.process(batch(keyed(1, b"a"), keyed(2, b"b")))
    doing.close()
    assert [one.value for one in outputs] == [b"2", b"4"]


def test_a_coroutine_is_a_processor_like_any_other() -> None:
    async def handle(record: Record) -> Emit:
        return Emit("out", record.key, record.value)

    processor = AsyncFunctionProcessor("copy", (), lambda _value, context: handle(context.record), TRIES)
    good, poisoned = processor.process([keyed(0, b"a"), keyed(1, b"b")])
    processor.close()
    assert not isinstance(good, Poisoned)
    assert not isinstance(poisoned, Poisoned)
    assert [one.value for one in (*good, *poisoned)] == [b"0", b"1"]


def test_a_coroutine_with_state_is_refused() -> None:
    from datetime import timedelta

    async def rate(event: int, context: Context) -> None: ...

    with pytest.raises(ConfigurationError, match="async"):
        App("shop").step(source=SOURCE, deduplicate=timedelta(hours=1))(rate)
