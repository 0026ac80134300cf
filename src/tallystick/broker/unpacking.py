"""What one Produce request may cost in unpacking: bytes that its batches become, and records that are walked over.

Owns: the bound, counted down over the batches of a request. Must not know: how a batch is compressed.

Four kilobytes of zstd can become the largest batch there is, and a request can hold ten thousand of them. The loop that
unpacks them serves everybody.
"""

from __future__ import annotations

from typing import Final

from tallystick.wire.compression import MAX_DECOMPRESSED_BYTES, DecompressedTooLarge, decompress
from tallystick.wire.errors import ApiError, ErrorCode

MAX_BYTES: Final = 2 * MAX_DECOMPRESSED_BYTES
MAX_RECORDS: Final = 2_000_000
"""Of compressed batches; those that are not compressed cost by what was sent."""


class Unpacking:
    """Of one request. Used up by a batch that is too large, so that the next one does not cost as much again."""

    def __init__(self, *, max_bytes: int = MAX_BYTES, max_records: int = MAX_RECORDS) -> None:
        self._bytes_left = max_bytes
        self._records_left = max_records

    def unpack(self, codec: int, body: bytes, *, records: int) -> bytes:
        """The body, decompressed. ``MalformedBatch``; ``ApiError`` MESSAGE_TOO_LARGE if it, or the request, is more."""
        if not codec:
            return body
        self._records_left -= records
        if self._records_left < 0:
            raise ApiError(ErrorCode.message_too_large, "the request has too many records in compressed batches")
        try:
            content = decompress(codec, body, max_bytes=min(self._bytes_left, MAX_DECOMPRESSED_BYTES))
        except DecompressedTooLarge as error:
            self._bytes_left = 0
            raise ApiError(ErrorCode.message_too_large, str(error)) from error
        self._bytes_left -= len(content)
        return content
