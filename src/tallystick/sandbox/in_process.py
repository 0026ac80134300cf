"""The sandbox in a thread of this process: ready in milliseconds, its store in memory or in a folder.

Owns: the thread and its event loop. Must not know: what the server does inside.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import uvicorn

from tallystick.clock import Clock, SystemClock
from tallystick.errors import FatalError
from tallystick.sandbox.api import SandboxApi
from tallystick.sandbox.control import SandboxControl
from tallystick.sandbox.faults import plan_from
from tallystick.sandbox.main import DEFAULT_WINDOW_MS, new_server, serve_until_stopped
from tallystick.sandbox.provider import SandboxProvider
from tallystick.sandbox.store import Store

_START_TIMEOUT_S: Final = 20.0


class InProcessSandbox(SandboxControl):
    """A sandbox on a free port of 127.0.0.1, in a ``with`` block."""

    def __init__(
        self,
        data: Path | None = None,
        *,
        seed: int = 0,
        faults: Mapping[str, Any] | None = None,
        window_ms: int = DEFAULT_WINDOW_MS,
        clock: Clock | None = None,
    ) -> None:
        """``data`` None: in memory, without settlement files. ``faults`` as ``set_faults`` takes them."""
        self.host = "127.0.0.1"
        self.port = 0
        self._data = data
        self._seed = seed
        self._plan = plan_from(faults or {}, seed=seed)
        self._window_ms = window_ms
        self._clock = clock or SystemClock()
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> InProcessSandbox:
        """Start and wait until it answers."""
        listening = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(listening,), name="sandbox", daemon=True)
        self._thread.start()
        if not listening.wait(_START_TIMEOUT_S):
            raise FatalError("the sandbox did not start")
        return self

    def _run(self, listening: threading.Event) -> None:
        """SQLite's connection belongs to the thread that opened it: everything is made here."""
        store = Store(self._data, seed=self._seed)
        api = SandboxApi(
            SandboxProvider(store, self._plan, clock=self._clock, window_ms=self._window_ms), seed=self._seed
        )
        server = self._server = new_server(api)
        with socket.socket() as listener:
            listener.bind((self.host, self.port))
            listener.listen(1024)
            self.port = listener.getsockname()[1]
            listening.set()
            asyncio.run(serve_until_stopped(server, api, listener))
        store.close()

    def stop(self) -> None:
        """Answer what is at work, for a second at most, and end."""
        if self._thread is None:
            return
        if self._server is not None:
            self._server.should_exit = True
        self._thread.join()
        self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
