"""Places for large requests, used again once a request is answered.

Owns: the free ones, and how much of them is kept. Must not know: what is read into them.
"""

from __future__ import annotations

from typing import Final

KEPT: Final = 4
KEPT_BYTES_EACH: Final = 2 * 1024 * 1024
"""What is larger is not kept: such requests are rare, and would hold their memory for ever."""
_STEP_BYTES: Final = 128 * 1024


class FrameBuffers:
    """``take`` and, once nothing looks at the bytes any more, ``give_back``."""

    def __init__(self) -> None:
        self._free: list[bytearray] = []

    def take(self, size: int) -> memoryview:
        """A place of exactly this size. What lies in it is of no meaning."""
        for slot, buffer in enumerate(self._free):
            if len(buffer) >= size:
                return memoryview(self._free.pop(slot))[:size]
        rounded = -(-size // _STEP_BYTES) * _STEP_BYTES  # so that the next one, a little larger, fits too
        return memoryview(bytearray(rounded))[:size]

    def give_back(self, place: memoryview) -> None:
        """The place may be taken by the next request."""
        buffer = place.obj
        if isinstance(buffer, bytearray) and len(buffer) <= KEPT_BYTES_EACH and len(self._free) < KEPT:
            self._free.append(buffer)
