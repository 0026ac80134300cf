"""A bound on bytes over all connections: requests that are read or worked at, and answers that are not sent yet.

Owns: the count, and who waits for room. Must not know: what the bytes are.
"""

from __future__ import annotations

import asyncio
from collections import deque


class ByteBudget:
    """``take`` waits for room, first come, first served; ``charge`` does not, and may overdraw."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._held = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def held_bytes(self) -> int:
        return self._held

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for room."""
        return bool(self._waiting)

    @property
    def is_overdrawn(self) -> bool:
        return self._held > self._limit

    def _has_room(self, size_bytes: int) -> bool:
        """One that is larger than the whole budget has room once nothing else is held."""
        return self._held + size_bytes <= self._limit or self._held == 0

    async def take(self, size_bytes: int) -> None:
        """Count the bytes, as soon as there is room for them."""
        if not self._waiting and self._has_room(size_bytes):
            self._held += size_bytes
            return
        room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size_bytes, room))
        try:
            await room
        except asyncio.CancelledError:
            if room.done() and not room.cancelled():  # the room was given, and nobody is there to use it
                self.release(size_bytes)
            raise

    def charge(self, size_bytes: int) -> None:
        """Count bytes that are there already."""
        self._held += size_bytes

    def release(self, size_bytes: int) -> None:
        """Give the room back, and on to whoever waits."""
        self._held -= size_bytes
        while self._waiting:
            wanted, room = self._waiting[0]
            if room.cancelled():
                self._waiting.popleft()
                continue
            if not self._has_room(wanted):
                return
            self._waiting.popleft()
            self._held += wanted
            room.set_result(None)
