"""Walking a segment's file batch by batch, every batch verified.

Owns: the scan, what it calls a bad batch, and the search for a good one behind it. Must not know: indexes, producers,
what is done about a bad batch.

The file is read in chunks, so that memory does not grow with it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from crc32c import crc32c

from tallystick.errors import TallystickError
from tallystick.wire.batch import CRC_FROM, HEADER_BYTES, MAGIC, BatchHeader, MalformedBatch, check_crc, read_header

CHUNK_BYTES: Final = 2 * 1024 * 1024
PAGE_BYTES: Final = 4096
_MAGIC_AT: Final = 16
_MAX_OFFSET_JUMP: Final = 2**40


class BadBatch(TallystickError):
    """The bytes at ``position`` are not the batch that is due there: the scan ends before them."""

    def __init__(self, position: int, offset: int, reason: str) -> None:
        self.position = position
        self.offset = offset
        self.reason = reason
        super().__init__(f"{reason} (byte {position}, offset {offset})")


def verified_batches(
    fd: int, *, start: int, end: int, next_offset: int, gaps: bool = False
) -> Iterator[tuple[BatchHeader, int, memoryview]]:
    """Header, position and bytes of every batch in ``[start, end)``; the bytes hold until the next step.

    Offsets must go on from ``next_offset`` without a gap, or, with ``gaps`` (a compacted log), rise. ``BadBatch`` at
    the first batch that is torn, out of place, or does not match its checksum.
    """
    window = _Window(fd, end)
    position = start
    while position < end:
        try:
            header, batch = _verified(window, position, next_offset, gaps=gaps)
        except MalformedBatch as error:
            raise BadBatch(position, next_offset, str(error)) from error
        yield header, position, batch
        next_offset = header.next_offset
        position += header.size_bytes


def _verified(window: _Window, position: int, next_offset: int, *, gaps: bool) -> tuple[BatchHeader, memoryview]:
    at = window.hold(position, HEADER_BYTES)
    header = read_header(window.view, at)
    offset = header.base_offset
    if offset != next_offset and not (gaps and offset > next_offset):
        raise MalformedBatch(f"offset {offset} where {next_offset} is due")
    size = header.size_bytes
    if position + size > window.end:
        raise MalformedBatch(f"the batch has {size} bytes, {window.end - position} are there")
    if size > CHUNK_BYTES:
        _check_large(window.fd, position, header)
    at = window.hold(position, size)
    batch = window.view[at : at + size]
    if crc32c(batch[CRC_FROM:]) != header.crc:
        raise MalformedBatch(f"its checksum is not the {header.crc:#010x} that its header says")
    return header, batch


class _Window:
    """The part of a file that is in memory."""

    def __init__(self, fd: int, end: int) -> None:
        self.fd = fd
        self.end = end
        self._start = self._stop = 0
        self.view = memoryview(b"")

    def hold(self, position: int, size: int) -> int:
        """Have ``size`` bytes from ``position`` in memory, fewer at the file's end; where they begin in ``view``."""
        if position < self._start or position + size > self._stop:
            wanted = min(max(size, CHUNK_BYTES), self.end - position)
            data = os.pread(self.fd, wanted, position)
            self.view = memoryview(data)
            self._start, self._stop = position, position + len(data)
            if len(data) < min(size, wanted):
                raise MalformedBatch(f"the file ends {min(size, wanted) - len(data)} bytes early")
        return position - self._start


def _check_large(fd: int, position: int, header: BatchHeader) -> None:
    """The checksum of a batch that is larger than a chunk: a damaged length must not cost its size in memory."""
    crc, at, end = 0, position + CRC_FROM, position + header.size_bytes
    while at < end:
        data = os.pread(fd, min(CHUNK_BYTES, end - at), at)
        if not data:
            break
        crc = crc32c(data, crc)
        at += len(data)
    if crc != header.crc:
        raise MalformedBatch(f"its checksum is not the {header.crc:#010x} that its header says")


def find_batch(fd: int, *, start: int, end: int, at_least: int) -> tuple[int, BatchHeader] | None:
    """The first position in ``[start, end)`` at which a batch verifies whose offset is ``at_least`` or a later one."""
    chunk_start = start
    while chunk_start < end:
        data = os.pread(fd, CHUNK_BYTES + HEADER_BYTES, chunk_start)
        candidate = data.find(MAGIC, _MAGIC_AT)
        while candidate != -1 and candidate - _MAGIC_AT < CHUNK_BYTES:
            position = chunk_start + candidate - _MAGIC_AT
            header = _plausible(data, candidate - _MAGIC_AT, at_least)
            if header is not None and position + header.size_bytes <= end and _verifies(fd, position, header):
                return position, header
            candidate = data.find(MAGIC, candidate + 1)
        chunk_start += CHUNK_BYTES
    return None


def _plausible(data: bytes, at: int, at_least: int) -> BatchHeader | None:
    try:
        header = read_header(data, at)
    except MalformedBatch:
        return None
    return header if at_least <= header.base_offset < at_least + _MAX_OFFSET_JUMP else None


def _verifies(fd: int, position: int, header: BatchHeader) -> bool:
    try:
        if header.size_bytes > CHUNK_BYTES:
            _check_large(fd, position, header)
        else:
            check_crc(os.pread(fd, header.size_bytes, position), 0, header)
    except MalformedBatch:
        return False
    return True


def is_unwritten(fd: int, *, start: int, end: int) -> bool:
    """Whether ``[start, end)`` begins with a page of zeros or has one: what power loss leaves of an unsynced write."""
    if end <= start:
        return False
    position = start
    while position < end:
        page_end = min((position // PAGE_BYTES + 1) * PAGE_BYTES, end)
        data = os.pread(fd, page_end - position, position)
        whole = position % PAGE_BYTES == 0 and page_end - position == PAGE_BYTES
        if (position == start or whole) and not any(data):
            return True
        position = page_end
    return False
