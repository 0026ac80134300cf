"""The requests of one connection off its stream: how large they may be, how long they may take, what they are counted.

Owns: the bytes of the request at work, the place where a large one lies, the time by which it must be here. Must not
know: what a request asks, who asks it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from tallystick.broker.byte_budget import ByteBudget
from tallystick.broker.byte_stream import ByteStream
from tallystick.broker.frame_buffers import FrameBuffers
from tallystick.broker.limits import (
    LARGE_REQUEST_BYTES,
    MAX_REQUEST_BYTES,
    MIN_BYTES_PER_S,
    OBJECTS_PER_BYTE,
    REQUEST_TIMEOUT_S,
    UNCOUNTED_BYTES,
)
from tallystick.wire.frames import LENGTH_BYTES, PRODUCE, Frame
from tallystick.wire.shapes import MalformedFrame

T = TypeVar("T")

_KEY_BYTES: Final = 2


def _is_produce(frame: Frame) -> bool:
    return int.from_bytes(frame[:_KEY_BYTES], "big") == PRODUCE


class RequestReader:
    """One request after the other: ``prefix``, then ``frame``, then ``done``.

    ``deadline`` is the loop's time by which what it ``waits_for`` must be here; since ``counted_since`` it holds room
    that others may wait for.
    """

    def __init__(self, stream: ByteStream, budget: ByteBudget, buffers: FrameBuffers, *, idle_s: float) -> None:
        self._stream = stream
        self._budget = budget
        self._buffers = buffers
        self._idle_s = idle_s
        self._loop = asyncio.get_running_loop()
        self._counted_bytes = 0
        self._place: memoryview | None = None
        self.deadline = math.inf
        self.waits_for = "request"
        self.counted_since = math.inf

    async def prefix(self) -> bytes:
        """The four bytes in front of the next request."""
        ready = self._stream.read_now(LENGTH_BYTES)
        if ready is not None:
            return ready
        self.waits_for = "request"
        self.deadline = self._loop.time() + self._idle_s
        return await self._stream.read(LENGTH_BYTES)

    async def frame(self, length: int) -> Frame:
        """The request of this length, whole. One that counts lies in a place that is used again after ``done``."""
        if length > UNCOUNTED_BYTES:
            return await self._large(length)
        ready = self._stream.read_now(length)
        if ready is None:
            return await self.read(length)
        self.deadline = math.inf
        return ready

    async def _large(self, length: int) -> Frame:
        key = b""
        if length > LARGE_REQUEST_BYTES:
            key = await self.read(_KEY_BYTES)
            if not _is_produce(key) and length > MAX_REQUEST_BYTES:
                raise MalformedFrame(f"a request of {length} bytes; {MAX_REQUEST_BYTES} are allowed, but for Produce")
        self.deadline = math.inf  # to wait for room is not the client's fault
        await self._budget.take(length)
        self._counted_bytes = length
        self.counted_since = self._loop.time()
        self._place = place = self._buffers.take(length)
        place[: len(key)] = key
        await self._within_time(length, self._stream.read_into(place[len(key) :]))
        return place

    async def read(self, length: int) -> bytes:
        """So many bytes, in the time that a request of that length has."""
        return await self._within_time(length, self._stream.read(length))

    async def _within_time(self, length: int, reading: Coroutine[Any, Any, T]) -> T:
        self.waits_for = "whole request"
        self.deadline = self._loop.time() + REQUEST_TIMEOUT_S + length / MIN_BYTES_PER_S
        result = await reading
        self.deadline = math.inf
        return result

    def count_objects(self) -> None:
        """Produce is bytes and stays bytes; what else is large decodes into many small objects."""
        place = self._place
        if place is not None and not _is_produce(place):
            more_bytes = len(place) * (OBJECTS_PER_BYTE - 1)
            self._budget.charge(more_bytes)
            self._counted_bytes += more_bytes

    def done(self) -> None:
        """Nobody looks at the request any more."""
        self.deadline = math.inf
        place, self._place = self._place, None
        if self._counted_bytes:
            self._budget.release(self._counted_bytes)
            self._counted_bytes = 0
            self.counted_since = math.inf
        if place is not None:
            self._buffers.give_back(place)
