"""Requests of one connection that are just like the one before, which are decoded once.

Owns: the last short Fetch. Must not know: who asks, what is answered.

A consumer without a fetch session (KIP-227), as librdkafka's are, names all of its partitions each time, and asks the
same every half a second while there is nothing to read. Decoded requests do not change, so that one may be used again.
"""

from __future__ import annotations

from typing import Any, Final

from tallystick.wire.frames import Frame, RequestHeader, read_request

MAX_REPEATED_BYTES: Final = 4096
"""Of a request that is kept; it has about a hundred partitions then, and becomes 40 KB of objects."""
_FETCH: Final = 1
_CORRELATION_ID: Final = slice(4, 8)


class RepeatedRequests:
    """``read`` is ``wire.frames.read_request`` for the requests of one connection."""

    __slots__ = ("_asked", "_request")

    def __init__(self) -> None:
        self._asked: Frame = b""
        self._request: Any = None

    def read(self, frame: Frame, header: RequestHeader) -> Any:
        """kio's request from a frame; ``MalformedFrame`` if it does not decode."""
        if header.api_key != _FETCH or len(frame) > MAX_REPEATED_BYTES:
            return read_request(frame, header)
        asked = bytes(frame[: _CORRELATION_ID.start]) + frame[_CORRELATION_ID.stop :]
        if asked != self._asked:
            self._request = read_request(frame, header)
            self._asked = asked
        return self._request
