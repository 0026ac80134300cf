"""Things that only the polling thread may do, asked of it by other threads.

Owns: ``Errands``. Must not know: what they are. librdkafka's consumer is asked for its group metadata with Python's
lock held: from a thread beside the one in ``consume`` that call stands still for ever (confluent-kafka 2.16). And a
position that is set beside ``consume`` could not be told from what ``consume`` has in its hands.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum

from tallystick.pipeline.intake import Doorbell


class When(Enum):
    """At which moment an errand may be done."""

    BETWEEN_POLLS = "between polls"
    ANY_TIME = "any time"
    """Also inside a rebalance call-back."""


class _Errand:
    def __init__(self, do: Callable[[], None], when: When) -> None:
        self.do = do
        self.when = when
        self.over = threading.Event()
        self.was_done = False
        self.raised: BaseException | None = None


class Errands:
    """A list of what is asked; each thread asks for one thing at a time, so that lanes bound its length."""

    def __init__(self, doorbell: Doorbell) -> None:
        self._doorbell = doorbell
        self._lock = threading.Lock()
        self._open: list[_Errand] = []
        self._closed = False

    def ask(self, do: Callable[[], None], when: When, *, timeout_s: float | None = None) -> bool:
        """Wait until the polling thread did it; raises what it raised. False if it didn't, and won't."""
        errand = _Errand(do, when)
        with self._lock:
            if self._closed:
                return False
            self._open.append(errand)
        self._doorbell.ring()
        if not errand.over.wait(timeout_s):
            with self._lock:
                if errand in self._open:
                    self._open.remove(errand)
                    return False
            errand.over.wait()  # it is being done right now
        if errand.raised is not None:
            raise errand.raised
        return errand.was_done

    def serve(self, when: When) -> None:
        """Do what may be done at this moment; for the polling thread."""
        if not self._open:
            return
        with self._lock:
            due = [one for one in self._open if when is When.BETWEEN_POLLS or one.when is When.ANY_TIME]
            for one in due:
                self._open.remove(one)
        for one in due:
            try:
                one.do()
                one.was_done = True
            except BaseException as error:  # noqa: BLE001  # raised where it was asked for
                one.raised = error
            one.over.set()

    def close(self) -> None:
        """Nothing is done any more: whoever waits goes on."""
        with self._lock:
            self._closed = True
            dropped, self._open = self._open, []
        for one in dropped:
            one.over.set()
