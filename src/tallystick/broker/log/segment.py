"""One segment: a file of record batches named by its first offset, with a sparse index in memory.

Owns: the file, its index by offset and by time, the scan that rebuilds them, and the cut of a torn tail. Must not know:
other segments, producers, transactions.

The file is nothing but batches as Apache Kafka lays them out. The index is rebuilt at start by walking headers (61 of
every batch's bytes). The last segment's CRCs are checked too. A batch that does not verify and has no valid batch
behind it is a torn write, never acknowledged: it is cut off. With a valid batch behind it, it is damage, and that is
reported (``CorruptData``), never skipped.
"""

from __future__ import annotations

import mmap
import os
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tallystick.broker.log.durability import SyncedFile
from tallystick.broker.log.files import Buffers, append_all, open_for_append
from tallystick.broker.log.settings import DEFAULTS, LogSettings
from tallystick.errors import CorruptData
from tallystick.wire.batch import HEADER_BYTES, BatchHeader, MalformedBatch, check_crc, read_header

NO_TIMESTAMP = -1
_WALK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class TornTail:
    """What recovery cut off the end of a file."""

    path: str
    at_bytes: int
    cut_bytes: int
    reason: str


def segment_path(folder: Path, base_offset: int) -> Path:
    return folder / f"{base_offset:020d}.log"


class Segment:
    """An open segment. ``next_offset`` and ``size_bytes`` say where the next batch goes."""

    def __init__(self, path: Path, base_offset: int, settings: LogSettings = DEFAULTS) -> None:
        self._index_interval_bytes = settings.log_index_interval_bytes
        self.path = path
        self.base_offset = base_offset
        self.next_offset = base_offset
        self.size_bytes = 0
        self.max_timestamp_ms = NO_TIMESTAMP
        self.max_timestamp_offset = -1
        self.file = SyncedFile(open_for_append(path))
        self._offsets = array("q")
        self._positions = array("q")
        self._timestamps = array("q")
        """Largest timestamp before the indexed position: it only grows, so a search by time can bisect."""

    def append(self, header: BatchHeader, buffers: Buffers) -> None:
        """Write one batch whose header already has its final base offset."""
        append_all(self.file.fd, buffers, end=self.size_bytes)
        self._note(header, self.size_bytes)
        self.size_bytes += header.size_bytes

    def _note(self, header: BatchHeader, position: int) -> None:
        if not self._positions or position - self._positions[-1] >= self._index_interval_bytes:
            self._offsets.append(header.base_offset)
            self._positions.append(position)
            self._timestamps.append(self.max_timestamp_ms)
        if header.max_timestamp_ms > self.max_timestamp_ms and not header.is_control:
            self.max_timestamp_ms = header.max_timestamp_ms
            self.max_timestamp_offset = header.last_offset
        self.next_offset = header.next_offset

    def recover(
        self, *, verify_crc: bool, may_cut: bool, on_batch: Callable[[BatchHeader, memoryview], None]
    ) -> TornTail | None:
        """Walk the file, rebuild the index, hand each batch to ``on_batch``, cut a torn tail if ``may_cut``."""
        length = os.fstat(self.file.fd).st_size
        if length == 0:
            return None
        torn: TornTail | None = None
        with mmap.mmap(self.file.fd, length, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
            position = 0
            while position < length:
                try:
                    header = self._verified(view, position, verify_crc=verify_crc)
                except MalformedBatch as error:
                    self._refuse_damage(view, position, may_cut=may_cut, reason=str(error))
                    torn = TornTail(str(self.path), position, length - position, str(error))
                    break
                with view[position : position + header.size_bytes] as batch:
                    on_batch(header, batch)
                self._note(header, position)
                position += header.size_bytes
        self.size_bytes = position
        if torn is not None:
            os.ftruncate(self.file.fd, position)
            os.fsync(self.file.fd)
        return torn

    def _verified(self, view: memoryview, position: int, *, verify_crc: bool) -> BatchHeader:
        header = read_header(view, position)
        if header.base_offset != self.next_offset:
            raise MalformedBatch(f"offset {header.base_offset} where {self.next_offset} is due")
        if verify_crc:
            check_crc(view, position, header)
        elif position + header.size_bytes > len(view):
            raise MalformedBatch("the last batch is not whole")
        return header

    def _refuse_damage(self, view: memoryview, position: int, *, may_cut: bool, reason: str) -> None:
        place = f"{self.path}, byte {position}, offset {self.next_offset}"
        if not may_cut:
            raise CorruptData(f"a batch in a closed segment does not verify: {reason}", place=place)
        later = _find_batch(view, position + 1, at_least=self.next_offset)
        if later is not None:
            raise CorruptData(
                f"a batch does not verify ({reason}), yet a valid one follows at byte {later}: "
                "this is damage, not a torn write; restore the file, or cut it here by hand to give up what follows",
                place=place,
            )

    def sync(self) -> None:
        """Force what is written to the disk, in the caller's thread."""
        os.fdatasync(self.file.fd)

    def position_of(self, offset: int) -> int:
        """Where the batch that holds ``offset`` begins, or the next one after it; the size if there is none."""
        if offset >= self.next_offset:
            return self.size_bytes
        slot = bisect_right(self._offsets, offset) - 1
        position = self._positions[slot] if slot >= 0 else 0
        for header, at in self._walk(position):
            if header.last_offset >= offset:
                return at
        return self.size_bytes

    def _walk(self, position: int) -> Iterator[tuple[BatchHeader, int]]:
        """Headers from a batch boundary on."""
        chunk, start = b"", position
        while position < self.size_bytes:
            if position + HEADER_BYTES > start + len(chunk):
                chunk, start = os.pread(self.file.fd, _WALK_BYTES, position), position
            header = self._read_header(chunk, position - start, position)
            yield header, position
            position += header.size_bytes

    def _read_header(self, chunk: bytes, at: int, position: int) -> BatchHeader:
        try:
            return read_header(chunk, at)
        except MalformedBatch as error:
            raise CorruptData(str(error), place=f"{self.path}, byte {position}") from error

    def read(self, position: int, *, max_bytes: int, end: int) -> tuple[bytes, int]:
        """Whole batches from ``position``, at least one if there is one before ``end``, and where the next begins."""
        if position >= end:
            return b"", position
        data = os.pread(self.file.fd, min(max(max_bytes, HEADER_BYTES), end - position), position)
        if position + len(data) >= end:
            return data, end
        cut = self._last_boundary(data, position)
        if cut == 0:
            header = self._read_header(data, 0, position)
            data = os.pread(self.file.fd, header.size_bytes, position)
            cut = len(data)
        return data[:cut], position + cut

    def _last_boundary(self, data: bytes, position: int) -> int:
        """How many of the bytes read from ``position`` are whole batches."""
        slot = bisect_right(self._positions, position + len(data)) - 1
        at = max(self._positions[slot] - position, 0) if slot >= 0 else 0
        while at + HEADER_BYTES <= len(data):
            size = self._read_header(data, at, position + at).size_bytes
            if at + size > len(data):
                break
            at += size
        return at

    def header_at(self, position: int) -> BatchHeader | None:
        """The header of the batch that begins here; None at the end."""
        if position >= self.size_bytes:
            return None
        return self._read_header(os.pread(self.file.fd, HEADER_BYTES, position), 0, position)

    def batches_from_time(self, timestamp_ms: int) -> Iterator[tuple[BatchHeader, bytes]]:
        """Data batches whose largest timestamp is not before ``timestamp_ms``, in offset order."""
        slot = bisect_left(self._timestamps, timestamp_ms) - 1
        start = self._positions[slot] if slot >= 0 else 0
        for header, position in self._walk(start):
            if header.max_timestamp_ms >= timestamp_ms and not header.is_control:
                yield header, os.pread(self.file.fd, header.size_bytes, position)


def _find_batch(view: memoryview, start: int, *, at_least: int) -> int | None:
    """The first position from ``start`` on at which a batch of a later offset verifies by its CRC."""
    magic_at = 16
    data = bytes(view[start:])
    candidate = data.find(b"\x02", magic_at)
    while candidate != -1:
        at = candidate - magic_at
        try:
            header = read_header(data, at)
            if header.base_offset >= at_least:
                check_crc(data, at, header)
                return start + at
        except MalformedBatch:
            pass
        candidate = data.find(b"\x02", candidate + 1)
    return None
