"""The bytes of one connection, in both directions, with as few copies as there can be.

Owns: where received bytes lie, who waits for them, who waits for room to send. Must not know: frames, requests, who is
at the other end.

Short reads are served from a small buffer that each connection has. A long one (``read_into``) names its place, and the
kernel writes there: a batch of a megabyte is not touched again before it goes to its log. What is not asked for yet
stays with the kernel once the small buffer is full, so that a client is slowed down by what it sends.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Final, cast

Buffers = Sequence[bytes | memoryview]

SMALL_BYTES: Final = 16 * 1024
"""What a connection holds of bytes that nobody asked for yet."""


class ByteStream(asyncio.BufferedProtocol):
    """Reads raise ``asyncio.IncompleteReadError`` at the end, ``ConnectionError`` if it did not end well."""

    def __init__(self, *, over_tls: bool = False) -> None:
        self._loop = asyncio.get_running_loop()
        self._over_tls = over_tls
        self._small = memoryview(bytearray(SMALL_BYTES))
        self._start = 0
        self._end = 0
        self._place: memoryview | None = None
        """Where the rest of a long read goes."""
        self._wanted = 0
        self._waiter: asyncio.Future[None] | None = None
        self._is_paused = False
        self._is_over = False
        self._error: Exception | None = None
        self._room: asyncio.Future[None] | None = None
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._transport: asyncio.Transport

    @property
    def error(self) -> Exception | None:
        """What the network ended the connection with, if it did not end well."""
        return self._error

    # Reading

    async def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes."""
        if size > SMALL_BYTES:
            place = bytearray(size)
            await self.read_into(memoryview(place))
            return bytes(place)
        if self._end - self._start < size:
            await self._until(size)
        start = self._start
        self._start = start + size
        return bytes(self._small[start : self._start])

    def read_now(self, size: int) -> bytes | None:
        """The same, if they are here already."""
        start = self._start
        end = start + size
        if end > self._end:
            return None
        self._start = end
        return bytes(self._small[start:end])

    async def read_into(self, place: memoryview) -> None:
        """Fill all of ``place``."""
        ready = min(self._end - self._start, len(place))
        place[:ready] = self._small[self._start : self._start + ready]
        self._start += ready
        if ready < len(place):
            self._start = self._end = 0
            self._place = place[ready:]
            try:
                await self._until(0)
            finally:
                self._place = None

    async def discard(self) -> None:
        """Read until the end and forget it."""
        try:
            while True:
                self._start = self._end = 0
                await self._until(1)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            return

    async def _until(self, size: int) -> None:
        """Wait until the small buffer holds ``size`` bytes, or the place is full."""
        if self._error is not None:
            raise self._error
        if self._is_over:
            raise asyncio.IncompleteReadError(b"", size)
        self._wanted = size
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: Exception) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    # Sending

    def write(self, buffers: Buffers) -> None:
        """Send the buffers one behind the other; they must not change any more."""
        if len(buffers) == 1:
            self._transport.write(buffers[0])
        else:
            self._transport.writelines(buffers)

    @property
    def has_room(self) -> bool:
        """Whether ``drained`` would return at once."""
        return self._room is None and not self._is_over

    async def drained(self) -> None:
        """Return once the client took so much that there is room again; ``ConnectionError`` if it is gone."""
        if self._closed.done():
            raise ConnectionResetError("the connection is gone")
        if self._room is not None:
            await asyncio.shield(self._room)

    def close(self) -> None:
        """End the connection once everything was sent."""
        self._transport.close()

    def abort(self) -> None:
        """End it now; what was not sent yet is never sent."""
        self._transport.abort()

    async def closed(self) -> None:
        """Return once it has ended."""
        await asyncio.shield(self._closed)

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        if self._place is not None:
            return self._place
        if self._start:
            kept = self._end - self._start
            self._small[:kept] = self._small[self._start : self._end]
            self._start, self._end = 0, kept
        return self._small[self._end :]

    def buffer_updated(self, nbytes: int) -> None:
        if self._place is not None:
            self._place = self._place[nbytes:]
            if not self._place:
                self._place = None
                self._wake()
            return
        self._end += nbytes
        if self._waiter is not None and self._end - self._start >= self._wanted:
            self._wake()
        if self._end - self._start == SMALL_BYTES:
            self._is_paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Half of the connection is over: what was asked may still be answered, but not over TLS."""
        self._is_over = True
        self._fail(asyncio.IncompleteReadError(b"", self._wanted))
        return not self._over_tls

    def connection_lost(self, error: Exception | None) -> None:
        self._is_over = True
        self._error = error
        self._fail(error or asyncio.IncompleteReadError(b"", self._wanted))
        self._make_room()
        if not self._closed.done():
            self._closed.set_result(None)

    def pause_writing(self) -> None:
        self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        self._make_room()

    def _make_room(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)
