"""A request that stops in the proxy until it is let go.

Owns: ``Hold``, and the error of a proxy that could not do what it was told. Must not know: sockets.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from tallystick.errors import TallystickError
from tallystick.verify.frames import RequestFrame

Matching = Callable[[RequestFrame], bool]
Call = Callable[[Coroutine[Any, Any, None]], None]
"""Runs something in the proxy's own thread, which owns all state."""


class ProxyError(TallystickError):
    """The proxy could not do what it was told: the test that relies on it has no result."""


@dataclass(slots=True)
class Hold:
    """The next ``remaining`` requests of one API key stop in the proxy until ``release``.

    A held request stops its whole connection, as a slow network would. It stays held when the client's side of the
    connection is cut, and reaches the broker on release all the same: the late request of rule 15.
    """

    call: Call
    api_key: int
    matching: Matching
    remaining: int
    held: list[RequestFrame] = field(default_factory=list)
    responses: list[bytes] = field(default_factory=list)
    _caught: threading.Event = field(default_factory=threading.Event)
    _answered: threading.Event = field(default_factory=threading.Event)
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    def wait_caught(self, timeout_s: float) -> RequestFrame:
        """The first request that was held. Raises ``ProxyError`` if none came."""
        if not self._caught.wait(timeout_s):
            raise ProxyError(f"no request of API key {self.api_key} came within {timeout_s} s")
        return self.held[0]

    @property
    def caught(self) -> bool:
        return self._caught.is_set()

    def release(self) -> None:
        """Let the held requests go to the broker, and hold no further one."""
        self.call(self._release())

    def wait_answered(self, timeout_s: float) -> bytes:
        """The broker's response to the first held request, also if its client is gone. Raises ``ProxyError``."""
        if not self._answered.wait(timeout_s):
            raise ProxyError(f"the broker did not answer the released request within {timeout_s} s")
        return self.responses[0]

    async def _release(self) -> None:
        self.remaining = 0
        self._released.set()

    def takes(self, frame: RequestFrame) -> bool:
        """Whether this request is to be held; if so, it counts."""
        if self.remaining < 1 or frame.api_key != self.api_key or not self.matching(frame):
            return False
        self.remaining -= 1
        self.held.append(frame)
        self._caught.set()
        return True

    async def wait_released(self) -> None:
        await self._released.wait()

    def answer(self, response: bytes) -> None:
        self.responses.append(response)
        self._answered.set()
