"""A batch function that keeps state: each event in its own partition, and a batch that fails has changed nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tallystick.errors import ConfigurationError
from tallystick.ids import deterministic_id
from tallystick.pipeline import App, BatchContext, Emit, ErrorPolicy, Store, Topic, emit, places
from tallystick.pipeline.state import changelog_topic
from tallystick.testing.app_driver import AppTestDriver

Make = Callable[..., AppTestDriver]

NUMBERS, SUMS = Topic("numbers", int, partitions=2), Topic("sums", int, partitions=2)
HELD = Store("held", key=bytes, value=int)


def summing() -> App:
    """Writes each key's sum so far; a negative number fails, after it has changed the sum."""
    app = App("sums")

    @app.batch(source=NUMBERS, emits=[SUMS], state=[HELD], on_error=ErrorPolicy(tries=2))
    def add(numbers: list[int], context: BatchContext) -> Sequence[Emit]:
        results = []
        for index, number in enumerate(numbers):
            one = context[index]
            held, key = one.state(HELD), one.key or b""
            held[key] = total = held.get(key, 0) + number
            if number < 0:
                raise ValueError("negative")
            results.append(emit(SUMS, total, key=key))
        return results

    return app


def test_state_of_a_batch_function_survives_a_crash_and_changes_once(tallystick_app_driver: Make) -> None:
    driver = tallystick_app_driver(summing())
    for number in (1, 2, 3, 4):
        driver.feed(NUMBERS, number, key="ann" if number % 2 else "bob", partition=number % 2)
    driver.crash_at(places.BEFORE_COMMIT)
    driver.run()
    driver.feed(NUMBERS, 10, key="ann", partition=1)
    driver.run()
    assert sorted(driver.read(SUMS)) == [1, 2, 4, 6, 14]
    assert driver.state("add", HELD) == {b"ann": 14, b"bob": 6}


def test_a_record_that_fails_changes_no_state_and_the_others_of_its_batch_do(tallystick_app_driver: Make) -> None:
    driver = tallystick_app_driver(summing())
    for number in (1, 2, -100, 4):
        driver.feed(NUMBERS, number, key="ann", partition=0)
    driver.run()
    assert driver.read(SUMS) == [1, 3, 7]
    assert driver.state("add", HELD) == {b"ann": 7}
    assert [letter.value for letter in driver.dead_letters("add")] == [b"-100"]


def test_a_change_is_that_of_the_event_through_whose_context_it_was_made(tallystick_app_driver: Make) -> None:
    driver = tallystick_app_driver(summing())
    ids = [deterministic_id("test", number) for number in range(3)]
    for number, key in enumerate(("ann", "bob", "ann")):
        driver.feed(NUMBERS, number, key=key, partition=0, event_id=ids[number])
    driver.run()
    changes = driver.records(changelog_topic("sums.add", "held"))
    assert {record.key: record.event_id for record in changes} == {b"ann": ids[2], b"bob": ids[1]}


def test_a_coroutine_keeps_no_state() -> None:
    app = App("sums")

    async def add(numbers: list[int], context: BatchContext) -> Sequence[None]:
        return [None for _ in numbers]

    with pytest.raises(ConfigurationError, match="async and has state"):
        app.batch(source=NUMBERS, state=[HELD])(add)
