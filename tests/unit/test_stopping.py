"""A stop that comes while its own thread waits is heard, at whatever moment it comes."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType

import pytest

from tallystick.stopping import StopFlag


def test_a_handler_that_interrupts_every_step_of_a_wait_ends_it() -> None:
    """The timer hits the waiting thread at another instruction each time; with a lock it soon stands still."""
    for microseconds in range(1, 400):
        flag = StopFlag()

        def stop(_number: int, _frame: FrameType | None, flag: StopFlag = flag) -> None:
            flag.set()

        before = signal.signal(signal.SIGALRM, stop)
        try:
            signal.setitimer(signal.ITIMER_REAL, microseconds / 1_000_000)
            while not flag.wait(0.00001):
                pass
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def test_another_thread_is_heard_soon() -> None:
    flag = StopFlag()
    threading.Timer(0.05, flag.set).start()
    assert flag.wait(30)


def test_a_wait_ends_at_its_time() -> None:
    flag = StopFlag()
    started = time.monotonic()
    assert not flag.wait(0.05)
    assert time.monotonic() - started >= 0.05


def test_a_stop_is_never_taken_back() -> None:
    with pytest.raises(NotImplementedError):
        StopFlag().clear()
