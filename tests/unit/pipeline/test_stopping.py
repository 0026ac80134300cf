"""A stop that a signal handler asks for never waits for the thread that it interrupts."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

from tallystick.pipeline.stopping import StopRequest

# Two thousand signals into a thread that does nothing but wait: threading.Event blocks itself after a few.
INTERRUPTED_WAITS = """
import signal
from tallystick.pipeline.stopping import StopRequest
stop = StopRequest()
signals = 0
def handler(*_):
    global signals
    signals += 1
    stop.set()
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
while signals < 2000:
    stop.clear()
    stop.wait(0)
print("done")
"""


def test_a_handler_may_ask_while_the_main_thread_waits() -> None:
    command = [sys.executable, "-c", INTERRUPTED_WAITS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "done\n"


def test_a_waiting_thread_learns_of_the_request() -> None:
    stop = StopRequest()
    answers: list[bool] = []
    waiter = threading.Thread(target=lambda: answers.append(stop.wait(30)))
    waiter.start()
    stop.set()
    waiter.join(30)
    assert answers == [True]


def test_a_wait_without_a_request_ends_at_its_time() -> None:
    stop = StopRequest()
    began = time.monotonic()
    assert not stop.wait(0.05)
    assert time.monotonic() - began >= 0.05


def test_a_request_can_be_taken_back() -> None:
    stop = StopRequest()
    stop.set()
    assert stop.is_set()
    stop.clear()
    assert not stop.is_set()
