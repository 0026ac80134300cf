"""The driver runs applications: it feeds, waits until idle, crashes, rebalances, moves time, and looks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from tallystick.errors import ConfigurationError, RetriableError
from tallystick.ids import deterministic_id
from tallystick.pipeline import (
    App,
    Context,
    Emit,
    ErrorPolicy,
    Guarantee,
    Idempotent,
    OnFailure,
    Output,
    Record,
    StoppedByPolicy,
    Store,
    Topic,
    emit,
    places,
)
from tallystick.testing.app_driver import AppTestDriver, NotIdle


class Purchase(msgspec.Struct):
    customer: str
    cents: int


PURCHASES = Topic("purchases", Purchase, partitions=2)
CHARGES = Topic("charges", Purchase, partitions=2)
RECEIPTS = Topic("receipts", Purchase, partitions=2)
COUNTS = Store("counts", key=str, value=int)


def shop(*, guarantee: Guarantee = Guarantee.EXACTLY_ONCE, factor: int = 1) -> App:
    """Two steps in a row; the first refuses amounts below 0."""
    app = App("shop", guarantee=guarantee)

    @app.step(source=PURCHASES, emits=[CHARGES])
    def rate(purchase: Purchase, context: Context) -> Iterator[Emit]:
        if purchase.cents < 0:
            raise ValueError(f"{purchase.cents} cents")
        yield emit(CHARGES, Purchase(purchase.customer, purchase.cents * factor), key=context.key)

    @app.step(source=CHARGES, emits=[RECEIPTS])
    def receipt(charge: Purchase, context: Context) -> Emit:
        return emit(RECEIPTS, charge, key=context.key)

    return app


def counter() -> App:
    app = App("counter")

    @app.step(source=PURCHASES, state=[COUNTS])
    def count(purchase: Purchase, context: Context) -> None:
        counts = context.state(COUNTS)
        counts[purchase.customer] = counts.get(purchase.customer, 0) + 1

    return app


def feed(driver: AppTestDriver, *, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        customer = f"c{number % 3}"
        driver.feed(PURCHASES, Purchase(customer, number), key=customer)


def cents(charges: list[Purchase]) -> list[int]:
    return sorted(charge.cents for charge in charges)


def test_what_is_fed_comes_out_of_the_last_step_once_and_only_while_it_runs() -> None:
    with AppTestDriver(shop()) as driver:
        feed(driver, count=20)
        assert driver.read(RECEIPTS) == []
        driver.run()
        assert cents(driver.read(RECEIPTS)) == list(range(20))
        feed(driver, count=5, first=20)
        assert cents(driver.read(RECEIPTS)) == list(range(20))
        driver.run()
        assert cents(driver.read(RECEIPTS)) == list(range(25))


@pytest.mark.parametrize("point", [places.AFTER_POLL, places.AFTER_PRODUCE, places.BEFORE_COMMIT, places.AFTER_COMMIT])
def test_a_crash_anywhere_repeats_and_loses_nothing(point: str) -> None:
    with AppTestDriver(shop(), batch_records=5) as driver:
        feed(driver, count=20)
        driver.crash_at(point, count=2)
        driver.run()
        assert driver.crashes == [point]
        assert cents(driver.read(RECEIPTS)) == list(range(20))


def test_the_same_crash_repeats_under_at_least_once_and_loses_under_at_most_once() -> None:
    """The driver shows the difference: it does not hide what a guarantee does not give."""
    outcomes = {}
    for guarantee in (Guarantee.AT_LEAST_ONCE, Guarantee.AT_MOST_ONCE):
        point = places.BEFORE_COMMIT if guarantee is Guarantee.AT_LEAST_ONCE else places.AFTER_COMMIT
        with AppTestDriver(shop(guarantee=guarantee)) as driver:
            feed(driver, count=10)
            driver.crash_at(point)
            driver.run()
            outcomes[guarantee] = cents(driver.read(CHARGES))
    assert len(outcomes[Guarantee.AT_LEAST_ONCE]) > 10
    assert set(outcomes[Guarantee.AT_LEAST_ONCE]) == set(range(10))
    assert len(outcomes[Guarantee.AT_MOST_ONCE]) < 10


def test_a_crash_that_never_comes_fails_the_test() -> None:
    driver = AppTestDriver(shop())
    driver.__enter__()
    driver.crash_at(places.AFTER_COMMIT, count=99)
    feed(driver, count=1)
    driver.run()
    with pytest.raises(AssertionError, match=r"never came to cycle\.after-commit"):
        driver.__exit__(None, None, None)


def test_a_place_that_is_none_is_refused_with_those_that_are() -> None:
    with AppTestDriver(shop()) as driver, pytest.raises(ConfigurationError, match=r"cycle\.after-produce"):
        driver.crash_at("cycle.after-lunch")


def test_a_rebalance_moves_the_partitions_away_and_back_and_nothing_repeats() -> None:
    with AppTestDriver(shop(), workers=2, batch_records=3) as driver:
        feed(driver, count=20)
        driver.rebalance()
        feed(driver, count=20, first=20)
        driver.run()
        assert cents(driver.read(RECEIPTS)) == list(range(40))


def test_state_is_what_its_changelog_says_also_after_a_crash(tmp_path: Path) -> None:
    with AppTestDriver(counter(), batch_records=4, state_dir=tmp_path) as driver:
        feed(driver, count=9)
        driver.crash_at(places.AFTER_OFFSETS)
        driver.run()
        assert driver.state("count", COUNTS) == {"c0": 3, "c1": 3, "c2": 3}
        driver.crash_at(places.AFTER_COMMIT)
        feed(driver, count=3)
        driver.run()
        assert driver.state("count", COUNTS) == {"c0": 4, "c1": 4, "c2": 4}


def test_a_record_that_cannot_be_processed_is_a_dead_letter_and_the_others_pass() -> None:
    with AppTestDriver(shop()) as driver:
        driver.feed(PURCHASES, Purchase("c", 7), key="c")
        driver.feed(PURCHASES, Purchase("c", -1), key="c")
        driver.feed("purchases", b"{", key="c")
        driver.run()
        assert [letter.value for letter in driver.dead_letters("rate")] == [b'{"customer":"c","cents":-1}', b"{"]
        assert cents(driver.read(RECEIPTS)) == [7]


def test_what_stops_a_step_is_raised() -> None:
    app = App("strict")

    @app.step(source=PURCHASES, on_error=ErrorPolicy(then=OnFailure.STOP))
    def refuse(_purchase: Purchase, _context: Context) -> None:
        raise ValueError("never")

    with AppTestDriver(app) as driver:
        feed(driver, count=1)
        with pytest.raises(StoppedByPolicy):
            driver.run()


def test_records_carry_the_time_of_the_clock_and_their_id() -> None:
    with AppTestDriver(shop(), start=1_000_000) as driver:
        driver.feed(PURCHASES, Purchase("c", 1), key="c", event_id=deterministic_id("t", "1"))
        driver.advance(timedelta(minutes=10))
        driver.feed(PURCHASES, Purchase("c", 2), key="c")
        driver.run()
        first, second = driver.records(PURCHASES)
        assert (first.timestamp_ms, second.timestamp_ms) == (1_000_000, 1_600_000)
        assert first.event_id == deterministic_id("t", "1")


def test_an_open_transaction_of_a_crashed_worker_is_aborted_when_its_time_is_over() -> None:
    """Without a successor nobody ends it but the broker, whose clock the driver moves."""
    with AppTestDriver(shop()) as driver:
        feed(driver, count=3)
        driver.crash_at(places.BEFORE_COMMIT)
        driver.run()
        driver.restart()
        driver.advance(timedelta(hours=1))
        driver.expire_sessions()
        feed(driver, count=3, first=3)
        driver.run()
        assert cents(driver.read(RECEIPTS)) == list(range(6))


def test_other_code_goes_on_where_the_former_ended() -> None:
    with AppTestDriver(shop()) as driver:
        feed(driver, count=3, first=1)
        driver.run()
        driver.restart(shop(factor=100))
        feed(driver, count=1, first=9)
        driver.run()
        assert cents(driver.read(RECEIPTS)) == [1, 2, 3, 900]


class Away:
    """A processor whose database is away for ever."""

    idempotent = Idempotent.BY_INBOX

    def process(self, records: Sequence[Record]) -> Sequence[Sequence[Output]]:
        raise RetriableError(f"a database is away, {len(records)} records wait")

    def close(self) -> None:
        """Nothing is held."""


def test_an_application_that_never_gets_done_is_named_with_where_it_stands() -> None:
    app = App("slow")
    app.add("waits", [PURCHASES], factory=Away)
    with AppTestDriver(app, timeout=timedelta(seconds=3)) as driver:
        driver.feed(PURCHASES, Purchase("c", 1), partition=1)
        with pytest.raises(NotIdle, match=r"step 'waits': .*'purchases-1': \(0, 1\).*'step-postponed'"):
            driver.run()
