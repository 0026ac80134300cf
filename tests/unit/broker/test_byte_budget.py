"""The budget over all connections: nothing gets lost, nobody is overtaken, and one that is too large still goes."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from tallystick.broker.byte_budget import ByteBudget


def test_who_wants_more_than_there_is_waits_its_turn() -> None:
    async def run() -> None:
        budget = ByteBudget(100)
        await budget.take(80)
        order: list[int] = []

        async def take(size: int) -> None:
            await budget.take(size)
            order.append(size)

        waiting = [asyncio.create_task(take(size)) for size in (50, 10)]
        await asyncio.sleep(0)
        assert order == [], "the small one does not overtake the large one"
        assert budget.is_wanted
        budget.release(80)
        await asyncio.gather(*waiting)
        assert order == [50, 10]
        assert budget.held_bytes == 60

    asyncio.run(run())


def test_one_that_is_larger_than_everything_goes_alone() -> None:
    async def run() -> None:
        budget = ByteBudget(100)
        await budget.take(1)
        large = asyncio.create_task(budget.take(1_000))
        await asyncio.sleep(0)
        assert not large.done()
        budget.release(1)
        await large
        assert budget.is_overdrawn

    asyncio.run(run())


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("take"), st.integers(0, 120)),
            st.tuples(st.just("charge"), st.integers(0, 120)),
            st.tuples(st.just("release"), st.integers(0, 50)),
            st.tuples(st.just("cancel"), st.integers(0, 50)),
        ),
        max_size=40,
    )
)
def test_whatever_comes_in_between_everything_is_given_back_and_everybody_gets_a_turn(
    steps: list[tuple[str, int]],
) -> None:
    async def run() -> None:
        budget = ByteBudget(100)
        held: list[int] = []
        waiting: list[asyncio.Task[None]] = []

        async def take(size: int) -> None:
            await budget.take(size)
            held.append(size)

        for step, value in steps:
            if step == "take":
                waiting.append(asyncio.create_task(take(value)))
            elif step == "charge":
                budget.charge(value)
                held.append(value)
            elif step == "release" and held:
                budget.release(held.pop(value % len(held)))
            elif step == "cancel" and waiting:
                waiting.pop(value % len(waiting)).cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert budget.held_bytes == sum(held)
        while not all(task.done() for task in waiting):
            assert held, "somebody waits for room that nobody has"
            budget.release(held.pop())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        for size in held:
            budget.release(size)
        assert budget.held_bytes == 0
        assert not budget.is_wanted

    asyncio.run(run())
