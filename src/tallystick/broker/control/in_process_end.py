"""The control channel to a broker in another thread of this process.

Owns: the way into the broker's loop and out of it. Must not know: what a command does (``execute``).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import threading

from tallystick.broker.control.execute import execute
from tallystick.broker.control.messages import Command, Reply
from tallystick.broker.faults.injector import Injector
from tallystick.errors import ConfigurationError

ANSWER_TIMEOUT_S = 20.0


class InProcessEnd:
    """``ask`` from any thread but the broker's; ``close`` from the broker's, when it ends."""

    def __init__(self, injector: Injector, loop: asyncio.AbstractEventLoop) -> None:
        self._injector = injector
        self._loop = loop
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._pending: set[concurrent.futures.Future[Reply | None]] = set()
        self._closed = False

    def ask(self, command: Command) -> Reply | None:
        """The reply; None if the broker is gone."""
        future: concurrent.futures.Future[Reply | None] = concurrent.futures.Future()
        with self._lock:
            if self._closed:
                return None
            self._pending.add(future)
            self._loop.call_soon_threadsafe(self._execute, command, future)
        return future.result(ANSWER_TIMEOUT_S)

    def _execute(self, command: Command, future: concurrent.futures.Future[Reply | None]) -> None:
        with self._lock:
            if future not in self._pending:
                return
            self._pending.discard(future)
        error = ""
        try:
            execute(command, self._injector)
        except ConfigurationError as refused:
            error = str(refused)
        future.set_result(Reply(next(self._numbers), self._injector.plan.state(), error))

    def close(self) -> None:
        """Whoever waits, and whoever asks from now on, is told that the broker is gone."""
        with self._lock:
            self._closed = True
            pending, self._pending = self._pending, set()
        for future in pending:
            future.set_result(None)
