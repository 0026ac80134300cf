"""What waits for a lane, and the errands that lanes have for the polling thread."""

from __future__ import annotations

import threading

import pytest
from tests.unit.pipeline.fakes import FakeMessage, messages

from tallystick.pipeline.errands import Errands, When
from tallystick.pipeline.intake import MAX_BYTES, Doorbell, Intake, Taken


def intake(*, batch_records: int = 10) -> Intake:
    return Intake(batch_records=batch_records, doorbell=Doorbell())


def offsets(taken: Taken) -> list[int]:
    return [message.offset() for message in taken.messages]


def test_messages_come_out_in_order_and_at_most_so_many_as_asked_for() -> None:
    box = intake()
    box.put(messages(0, range(5)))
    box.put(messages(0, range(5, 7)))
    assert offsets(box.take(3, 0)) == [0, 1, 2]
    assert offsets(box.take(3, 0)) == [3, 4, 5]
    assert offsets(box.take(3, 0)) == [6]
    assert box.take(3, 0) == Taken((), [])


def test_a_lane_that_waits_for_a_whole_batch_is_woken_by_its_last_message() -> None:
    box = intake()
    box.put(messages(0, range(2)))
    threading.Thread(target=box.put, args=(messages(0, [2]),)).start()
    assert offsets(box.take(3, 60)) == [0, 1, 2]


def test_a_change_of_the_assignment_goes_before_messages_and_drops_those_of_before() -> None:
    box = intake()
    box.put(messages(0, range(5)))
    box.announce("revoking")
    box.announce("revoked")
    box.put(messages(0, [9]))
    assert box.take(3, 60) == Taken(("revoking", "revoked"))
    assert offsets(box.take(3, 0)) == [9]


def test_news_are_told_once_whoever_asks_for_them() -> None:
    box = intake()
    box.announce("lost")
    assert box.news() == ("lost",)
    assert box.news() == ()
    assert box.take(1, 0) == Taken((), [])


def test_a_lane_is_hungry_until_its_next_batch_is_here() -> None:
    box = intake(batch_records=100)
    box.put(messages(0, range(99)))
    assert box.is_hungry
    box.put(messages(0, [99]))
    assert not box.is_hungry


@pytest.mark.parametrize(("count", "size"), [(20_000, 10), (3, MAX_BYTES // 2)])
def test_an_intake_is_full_by_number_or_by_size_and_low_again_at_half_of_it(count: int, size: int) -> None:
    box = intake()
    box.put(messages(0, range(count), size=size))
    assert box.is_full
    assert not box.is_hungry
    while not box.is_low:
        assert box.take(1000, 0).messages
    assert box.count <= count // 2


def test_a_full_intake_is_a_whole_batch_however_few_it_has() -> None:
    box = intake()
    box.put(messages(0, [0], size=MAX_BYTES))
    assert offsets(box.take(500, 60)) == [0]


def test_positions_that_go_back_forget_what_waits_and_its_size() -> None:
    box = intake()
    box.put(messages(0, [0], size=MAX_BYTES))
    box.drop()
    assert (box.count, box.is_full) == (0, False)


def test_a_closed_intake_takes_nothing_and_keeps_nobody_waiting() -> None:
    box = intake()
    box.put([FakeMessage("in", 0, 0)])
    box.close()
    box.put([FakeMessage("in", 0, 1)])
    assert box.is_closed
    assert box.take(1, 60) == Taken((), [])


def in_thread(errands: Errands, done: list[str], when: When) -> tuple[threading.Thread, list[object]]:
    result: list[object] = []

    def ask() -> None:
        try:
            result.append(errands.ask(lambda: done.append(threading.current_thread().name), when))
        except BaseException as error:  # noqa: BLE001  # shown to the test
            result.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, result


def test_an_errand_is_done_by_the_thread_that_serves() -> None:
    bell = Doorbell()
    errands = Errands(bell)
    done: list[str] = []
    thread, result = in_thread(errands, done, When.BETWEEN_POLLS)
    bell.wait(60)
    errands.serve(When.ANY_TIME)
    assert done == []
    errands.serve(When.BETWEEN_POLLS)
    thread.join(60)
    assert (done, result) == ([threading.current_thread().name], [True])


def test_what_an_errand_raises_is_raised_where_it_was_asked_for() -> None:
    bell = Doorbell()
    errands = Errands(bell)
    error = ValueError("no")
    raised: list[BaseException] = []

    def fail() -> None:
        raise error

    def ask() -> None:
        try:
            errands.ask(fail, When.ANY_TIME)
        except ValueError as found:
            raised.append(found)

    thread = threading.Thread(target=ask)
    thread.start()
    bell.wait(60)
    errands.serve(When.ANY_TIME)
    thread.join(60)
    assert raised == [error]


def test_nobody_waits_for_an_errand_that_will_not_be_done() -> None:
    bell = Doorbell()
    errands = Errands(bell)
    done: list[str] = []
    thread, result = in_thread(errands, done, When.ANY_TIME)
    bell.wait(60)
    errands.close()
    thread.join(60)
    assert result == [False]
    assert not errands.ask(lambda: None, When.ANY_TIME)
    assert not Errands(bell).ask(lambda: None, When.ANY_TIME, timeout_s=0)
