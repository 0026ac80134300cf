"""State built up again beside that of the workers: what a failing record changed goes, what others did stays."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from tests.unit.pipeline.fakes import record

from tallystick.pipeline import App, BatchContext, Context, Emit, ErrorPolicy, Poisoned, Record, Store, Topic, emit
from tallystick.pipeline.replay.rebuilding import Rebuilt
from tallystick.pipeline.replay.replaying import _processed

NUMBERS, SUMS = Topic("in", int), Topic("sums", int)
HELD = Store("held", key=str, value=int)
ONCE = ErrorPolicy(tries=1)


def one_by_one() -> App:
    app = App("sums")

    @app.step(source=NUMBERS, state=[HELD], name="add", on_error=ONCE)
    def add(number: int, context: Context) -> Emit:
        held = context.state(HELD)
        held["all"] = total = held.get("all", 0) + number
        if number < 0:
            raise ValueError("negative")
        return emit(SUMS, total)

    return app


def in_batches() -> App:
    app = App("sums")

    @app.batch(source=NUMBERS, state=[HELD], name="add", on_error=ONCE)
    def add(numbers: list[int], context: BatchContext) -> Sequence[Emit]:
        results = []
        for index, number in enumerate(numbers):
            held = context[index].state(HELD)
            held["all"] = total = held.get("all", 0) + number
            if number < 0:
                raise ValueError("negative")
            results.append(emit(SUMS, total))
        return results

    return app


@pytest.mark.parametrize("app", [one_by_one(), in_batches()], ids=["step", "batch"])
def test_a_record_that_fails_leaves_the_sums_of_its_partition_as_they_were(app: App) -> None:
    plan = app.steps[0].state
    assert plan is not None

    def sums(*records: Record) -> list[int | None]:
        results = _processed(processor, records, state)
        return [None if isinstance(one, Poisoned) else int(one[0].value or b"") for one in results]

    with Rebuilt(plan, group="sums.add", numbers=[0, 1]) as state:
        processor = plan.factory(state.lane)
        assert sums(*(record(n, b"%d" % n, partition=n % 2) for n in (1, 2, 3, 4))) == [1, 2, 4, 6]
        state.keep()
        failing = msgspec.structs.replace(record(6, partition=0), value=b"-100")
        assert sums(record(5, b"10", partition=0), failing, record(7, b"1", partition=0)) == [16, None, 17]
        state.keep()
        assert sums(record(9, b"1", partition=1)) == [5]
