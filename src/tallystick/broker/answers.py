"""Answers of one connection: in order, each after the disk has what it promises, and bounded.

Owns: the queue, its bounds, the time that a client has to take an answer. Must not know: what an answer says.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque

from tallystick.broker.byte_budget import ByteBudget
from tallystick.broker.byte_stream import Buffers, ByteStream
from tallystick.broker.limits import (
    MAX_UNSENT_BYTES,
    MAX_UNSENT_RESPONSES,
    MIN_BYTES_PER_S,
    SEND_TIMEOUT_S,
    UNCOUNTED_BYTES,
)
from tallystick.broker.log.durability import Durability


class Answers:
    """``deadline`` is the loop's time by which the client must have taken what is being sent."""

    def __init__(self, stream: ByteStream, durability: Durability, budget: ByteBudget) -> None:
        self._stream = stream
        self._durability = durability
        self._budget = budget
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[Buffers, int, int]] = deque()
        self._waiting_bytes = 0
        self._counted_bytes = 0
        self._sender: asyncio.Task[None] | None = None
        self._room = asyncio.Event()
        self.deadline = math.inf

    async def send(self, buffers: Buffers, *, after_write: int) -> None:
        """Send now, or put the answer behind those that wait for the disk; ``ConnectionError`` if nobody reads it."""
        size = sum(map(len, buffers))
        if size > UNCOUNTED_BYTES:
            self._counted_bytes += size
            self._budget.charge(size)
        durability = self._durability
        if not self._waiting and (not durability.acknowledges_after_sync or durability.synced >= after_write):
            self._stream.write(buffers)
            if size > UNCOUNTED_BYTES or not self._stream.has_room:
                await self._taken(size)
            return
        while len(self._waiting) >= MAX_UNSENT_RESPONSES or self._waiting_bytes > MAX_UNSENT_BYTES:
            self._room.clear()
            await self._room.wait()
        self._waiting.append((buffers, size, after_write))
        self._waiting_bytes += size
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send_waiting())

    async def _taken(self, size: int) -> None:
        """Wait until the client has taken so much that the next answer may be written."""
        self.deadline = self._loop.time() + SEND_TIMEOUT_S + size / MIN_BYTES_PER_S
        await self._stream.drained()
        self.deadline = math.inf
        if size > UNCOUNTED_BYTES:
            self._counted_bytes -= size
            self._budget.release(size)

    async def _send_waiting(self) -> None:
        try:
            while self._waiting:
                buffers, size, after_write = self._waiting[0]
                await self._durability.wait(after_write)
                self._stream.write(buffers)
                await self._taken(size)
                self._waiting.popleft()
                self._waiting_bytes -= size
                self._room.set()
        except ConnectionError:
            self._stream.close()
        finally:
            self._room.set()

    async def flush(self) -> None:
        """Wait until nothing waits for the disk any more, or nobody takes the answers."""
        if self._sender is not None:
            await asyncio.wait({self._sender})

    def close(self) -> None:
        """Send nothing more, and give back what was counted."""
        if self._sender is not None:
            self._sender.cancel()
        self._waiting.clear()
        self._budget.release(self._counted_bytes)
        self._counted_bytes = 0
