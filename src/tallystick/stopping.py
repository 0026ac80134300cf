"""A flag that a signal handler may set while the same thread waits on it.

Owns: ``StopFlag``. Must not know: who stops.

``threading.Event`` is not that: ``wait`` and ``set`` take the same lock, which is not reentrant, so that a handler
that runs while its thread is inside ``wait`` can stand still for ever, and the process with it.
"""

from __future__ import annotations

import threading
import time
from typing import Final

_LOOK_S: Final = 0.02


class StopFlag(threading.Event):
    """An event without a lock, once set never cleared; ``wait`` looks every 20 ms."""

    def __init__(self) -> None:
        super().__init__()
        self._is_stopping = False

    def is_set(self) -> bool:
        return self._is_stopping

    def set(self) -> None:
        self._is_stopping = True

    def clear(self) -> None:
        """A stop is never taken back."""
        raise NotImplementedError("a stop is never taken back")

    def wait(self, timeout: float | None = None) -> bool:
        """Whether it is set, at the latest after ``timeout`` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._is_stopping:
            left = _LOOK_S if deadline is None else deadline - time.monotonic()
            if left <= 0:
                break
            time.sleep(min(left, _LOOK_S))
        return self._is_stopping
