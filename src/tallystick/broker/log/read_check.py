"""Which bytes of a segment were verified since the process started, so that nothing damaged is handed to a reader.

Owns: the two ranges, the check. Must not know: what is read, and by whom.

What a start has read, and what was written since, needs no check. An older segment's bytes are checked when they are
read for the first time, once: a client would find a wrong checksum only if it is told to look (librdkafka's
``check.crcs`` is off by default), and some skip what they cannot read.
"""

from __future__ import annotations

from pathlib import Path

from crc32c import crc32c

from tallystick.errors import CorruptData
from tallystick.wire.batch import CRC_FROM, Batch, BatchHeader, MalformedBatch, read_header


class ReadCheck:
    """``[0, upto)`` and everything from ``since`` on is verified."""

    __slots__ = ("_path", "_since", "_upto")

    def __init__(self, path: Path) -> None:
        self._path = path
        self._upto = 0
        self._since = 0

    def trust_from(self, position: int) -> None:
        """What lies before was not read by this start."""
        self._since = position
        self._upto = 0

    def checked(self, data: Batch, position: int) -> Batch:
        """The whole batches in ``data``, which lie at ``position``, up to the first that does not verify.

        ``CorruptData`` with file, byte and offset if that is the first one.
        """
        end = position + len(data)
        if position >= self._since or end <= self._upto:
            return data
        good = self._verify(data, position)
        if position <= self._upto < position + good:
            self._upto = position + good
            if self._upto >= self._since:
                self._since = 0
        return data if good == len(data) else data[:good]

    def _verify(self, data: Batch, position: int) -> int:
        """How many bytes at the beginning are good batches."""
        at, due = 0, -1
        view = memoryview(data)
        while at < len(data):
            try:
                header = _good_batch(view, at, due)
            except MalformedBatch as error:
                if at > 0:
                    break
                raise CorruptData(str(error), place=f"{self._path}, byte {position}") from error
            due = header.next_offset
            at += header.size_bytes
        return at


def _good_batch(view: memoryview, at: int, due: int) -> BatchHeader:
    header = read_header(view, at)
    size = header.size_bytes
    if at + size > len(view):
        raise MalformedBatch(f"the batch has {size} bytes, {len(view) - at} are there")
    if header.base_offset < due:
        raise MalformedBatch(f"offset {header.base_offset} where {due} is due")
    if crc32c(view[at + CRC_FROM : at + size]) != header.crc:
        raise MalformedBatch(f"its checksum is not the {header.crc:#010x} that its header says")
    return header
