"""How many partitions a large Produce request names, counted without decoding it.

Owns: walking over the rows of Produce. Must not know: batches, what is done with the count.

A row of six bytes decodes into objects of over fifty. A frame as large as Produce may be could so take gigabytes; the
batches themselves stay bytes and are not the danger.
"""

from __future__ import annotations

from typing import Final

from tallystick.wire.frames import MalformedFrame, RequestHeader, is_flexible

_FIRST_WITH_TOPIC_IDS: Final = 13
_TOPIC_ID_BYTES: Final = 16
_ACKS_AND_TIMEOUT_BYTES: Final = 6
_INDEX_BYTES: Final = 4


def check_rows(frame: bytes, header: RequestHeader, *, at_most: int) -> None:
    """``MalformedFrame`` if the request has more rows than that, counting topics and partitions, or ends early."""
    walk = _Walk(frame, header.body_at, flexible=is_flexible(header.api_key, header.api_version))
    walk.skip_text()
    walk.skip(_ACKS_AND_TIMEOUT_BYTES)
    rows = 0
    for _ in range(walk.count(at_most)):
        if header.api_version >= _FIRST_WITH_TOPIC_IDS:
            walk.skip(_TOPIC_ID_BYTES)
        else:
            walk.skip_text()
        partitions = walk.count(at_most - rows)
        rows += 1 + partitions
        if rows > at_most:
            raise MalformedFrame(f"Produce with more than {at_most} topics and partitions")
        for _ in range(partitions):
            walk.skip(_INDEX_BYTES)
            walk.skip_bytes()
            walk.skip_tags()
        walk.skip_tags()


class _Walk:
    """A position in a frame that only goes forward."""

    def __init__(self, frame: bytes, at: int, *, flexible: bool) -> None:
        self._frame = frame
        self._at = at
        self._flexible = flexible

    def skip(self, size: int) -> None:
        self._at += size
        if self._at > len(self._frame):
            raise MalformedFrame("the frame ends inside a row of Produce")

    def count(self, at_most: int) -> int:
        """The number of rows that follow."""
        count = self._varint() - 1 if self._flexible else self._number(4)
        if count > at_most:
            raise MalformedFrame(f"Produce with {count} rows in one list")
        return max(count, 0)

    def skip_text(self) -> None:
        self.skip(max(self._varint() - 1 if self._flexible else self._number(2), 0))

    def skip_bytes(self) -> None:
        self.skip(max(self._varint() - 1 if self._flexible else self._number(4), 0))

    def skip_tags(self) -> None:
        if self._flexible:
            for _ in range(self._varint()):
                self._varint()
                self.skip(self._varint())

    def _number(self, size: int) -> int:
        at = self._at
        self.skip(size)
        return int.from_bytes(self._frame[at : self._at], "big", signed=True)

    def _varint(self) -> int:
        value = shift = 0
        while shift < 35:
            at = self._at
            self.skip(1)
            byte = self._frame[at]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
        raise MalformedFrame("a number of more than five bytes")
