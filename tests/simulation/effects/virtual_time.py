"""An event loop whose time is a clock that nobody waits for: when nothing is ready, the clock jumps to the next timer.

Owns: the loop, and an executor that runs work at once. With them the dispatcher's own code runs on a controlled clock,
in one thread, in the same order for the same seed.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from tallystick.clock import ManualClock


class _Selector(selectors.SelectSelector):
    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None:
            raise RuntimeError("nothing is ready and nothing will ever be: the simulation hangs")
        self._clock.advance(by_ms=max(1, math.ceil(timeout * 1000 - 1e-6)))
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop on ``clock``."""

    def __init__(self, clock: ManualClock) -> None:
        self._virtual = clock
        self._began_ms = clock.monotonic_ms()
        super().__init__(_Selector(clock))

    def time(self) -> float:
        return (self._virtual.monotonic_ms() - self._began_ms) / 1000


class InlineExecutor(Executor):
    """Runs work at once, in the caller's thread; ``guard`` may refuse."""

    def __init__(self, guard: Callable[[], None]) -> None:
        self._guard = guard

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            self._guard()
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001  a crash that is simulated is one of them
            future.set_exception(error)
        return future
