"""Event time survives the steps of an application, windows and joins among them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec

from tallystick.pipeline import (
    App,
    BatchContext,
    Context,
    Emit,
    Emits,
    Topic,
    Tumbling,
    Window,
    Windows,
    emit,
    emit_each,
    places,
)
from tallystick.testing.app_driver import AppTestDriver

MINUTE_MS = 60_000
BEGIN_MS = 1_700_000_000_000 // (10 * MINUTE_MS) * (10 * MINUTE_MS)

Make = Callable[..., AppTestDriver]


class Reading(msgspec.Struct):
    at_ms: int
    value: int


def stamps(driver: AppTestDriver, topic: Topic[Any]) -> list[tuple[bytes | None, int]]:
    return [(record.value, record.timestamp_ms) for record in driver.records(topic)]


def test_a_record_keeps_its_time_over_two_steps_and_a_crash(tallystick_app_driver: Make) -> None:
    first, second, third = (Topic(name, bytes) for name in ("first", "second", "third"))
    app = App("chain")

    @app.step(source=first, emits=[second])
    def one(event: bytes, context: Context) -> Emit:
        return emit(second, event, key=context.key)

    @app.batch(source=second, emits=[third])
    def two(events: list[bytes], context: BatchContext) -> Emits:
        return emit_each(third, events, keys=context.keys)

    driver = tallystick_app_driver(app)
    for number in (2, 1, 3):
        driver.feed(first, b"%d" % number, key="k", at_ms=BEGIN_MS + number)
    driver.crash_at(places.BEFORE_COMMIT)
    driver.run()
    assert stamps(driver, third) == [(b"%d" % number, BEGIN_MS + number) for number in (2, 1, 3)]


def test_a_window_tells_its_last_moment_and_an_update_the_time_of_its_event(tallystick_app_driver: Make) -> None:
    readings, updates, results = Topic("readings", Reading), Topic("updates", bytes), Topic("results", bytes)
    sums = Windows("sums", Tumbling(timedelta(minutes=10)), key=str, value=int)
    app = App("windows")

    def updated(window: Window[str, int], _context: Context) -> Emit:
        return emit(updates, b"%d" % window.value, key=window.key)

    def closed(window: Window[str, int], _context: Context) -> Emit:
        return emit(results, b"%d" % window.value, key=window.key)

    @app.aggregate(
        source=readings,
        windows=sums,
        time=lambda reading: reading.at_ms,
        updated=updated,
        closed=closed,
        emits=[updates, results],
    )
    def add(value: int | None, reading: Reading) -> int:
        return (value or 0) + reading.value

    driver = tallystick_app_driver(app)
    for minute, value in ((1, 3), (9, 4), (4, 5), (12, 100)):
        driver.feed(readings, Reading(BEGIN_MS + minute * MINUTE_MS, value), key="k", at_ms=BEGIN_MS - MINUTE_MS)
    driver.run()
    assert stamps(driver, updates) == [
        (b"3", BEGIN_MS + MINUTE_MS),
        (b"7", BEGIN_MS + 9 * MINUTE_MS),
        (b"12", BEGIN_MS + 4 * MINUTE_MS),
        (b"100", BEGIN_MS + 12 * MINUTE_MS),
    ]
    assert stamps(driver, results) == [(b"12", BEGIN_MS + 10 * MINUTE_MS - 1)]


def test_a_pair_has_the_later_time_of_its_two_and_one_that_stays_alone_its_own(tallystick_app_driver: Make) -> None:
    left, right, pairs = Topic("left", bytes), Topic("right", bytes), Topic("pairs", bytes)
    app = App("joins")

    @app.join(left=left, right=right, within=timedelta(minutes=5), keep_left=True, emits=[pairs])
    def pair(one: bytes, other: bytes | None, context: Context) -> Emit:
        return emit(pairs, one + b"+" + (other or b"nothing"), key=context.key)

    driver = tallystick_app_driver(app, partitions=1)
    driver.feed(left, b"a", key="x", at_ms=BEGIN_MS)
    driver.feed(left, b"b", key="y", at_ms=BEGIN_MS + 4 * MINUTE_MS)
    driver.run()
    driver.feed(right, b"1", key="x", at_ms=BEGIN_MS + MINUTE_MS)
    driver.feed(right, b"2", key="y", at_ms=BEGIN_MS + 3 * MINUTE_MS)
    driver.feed(left, b"c", key="z", at_ms=BEGIN_MS + 6 * MINUTE_MS)
    driver.feed(right, b"3", key="w", at_ms=BEGIN_MS + 30 * MINUTE_MS)
    driver.run()
    assert sorted(stamps(driver, pairs)) == [
        (b"a+1", BEGIN_MS + MINUTE_MS),
        (b"b+2", BEGIN_MS + 4 * MINUTE_MS),
        (b"c+nothing", BEGIN_MS + 6 * MINUTE_MS),
    ]
