"""The index of one segment: by offset, by time, and of aborted transactions, kept in two files beside the log.

Owns: ``<first offset>.index`` and ``<first offset>.txnindex``. Must not know: what lies in the log.

Rows are appended; a header of 128 bytes says how many of them count, what part of the log they cover, and their
checksums. It is written last and in one piece, so that a killed process leaves the old state or the new one. Whatever
does not verify is rebuilt from the log, which alone holds the truth. Rows that are stored do not stay in memory.

A row is (offset, position, largest timestamp before the position): all three only grow, so each can be bisected.
"""

from __future__ import annotations

import os
import struct
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple, Self

from crc32c import crc32c

from tallystick.broker.log.aborted import ABORTED_ROW_BYTES, LAST_OFFSET_AT, AbortedTransaction, read_rows
from tallystick.broker.log.files import append_all, open_for_append
from tallystick.errors import TallystickError

NO_TIMESTAMP: Final = -1
INDEX_SUFFIXES: Final = (".index", ".txnindex")
_MAGIC: Final = b"TSINDEX\x01"
_HEADER: Final = struct.Struct("<8s16sIqqqqIqqqIqI")
HEADER_BYTES: Final = 128
_CRC_AT: Final = HEADER_BYTES - 4
_CLOSED: Final = 1
_DURABLE: Final = 2
_ROW_BYTES: Final = 24
_OFFSET_AT, _POSITION_AT, _TIMESTAMP_AT = 0, 8, 16
_CHUNK_ROWS: Final = 256


class DamagedIndex(TallystickError):
    """The stored rows do not verify: they have to be rebuilt from the log."""


class IndexRow(NamedTuple):
    """A batch boundary: the batch's first offset, where it begins, the largest timestamp before it."""

    offset: int
    position: int
    max_timestamp_before_ms: int


class Coverage(NamedTuple):
    """The part of the log that an index covers, and by which of its batches to know the log again."""

    next_offset: int
    log_bytes: int
    last_position: int = -1
    """Where the last covered batch begins; -1 if there is none."""
    last_crc: int = 0
    """That batch's own checksum: an index of another history of the log shows by it."""
    max_timestamp_ms: int = NO_TIMESTAMP
    max_timestamp_offset: int = -1


@dataclass(frozen=True, slots=True)
class StoredHeader:
    """What the header of an index file says."""

    boot_id: bytes
    base_offset: int
    coverage: Coverage
    row_count: int = 0
    rows_crc: int = 0
    aborted_count: int = 0
    aborted_crc: int = 0
    closed: bool = False
    """No batch follows in this segment any more."""
    durable: bool = False
    """The covered part of the log is on disk."""

    def to_bytes(self) -> bytes:
        c = self.coverage
        flags = (_CLOSED if self.closed else 0) | (_DURABLE if self.durable else 0)
        packed = _HEADER.pack(
            _MAGIC,
            self.boot_id,
            flags,
            self.base_offset,
            c.next_offset,
            c.log_bytes,
            c.last_position,
            c.last_crc,
            c.max_timestamp_ms,
            c.max_timestamp_offset,
            self.row_count,
            self.rows_crc,
            self.aborted_count,
            self.aborted_crc,
        ).ljust(_CRC_AT, b"\x00")
        return packed + crc32c(packed).to_bytes(4, "little")


def read_stored_header(raw: bytes) -> StoredHeader | None:
    """The header; None if these bytes are none."""
    if len(raw) < HEADER_BYTES or crc32c(raw[:_CRC_AT]) != int.from_bytes(raw[_CRC_AT:HEADER_BYTES], "little"):
        return None
    magic, boot_id, flags, base_offset, *rest = _HEADER.unpack_from(raw)
    if magic != _MAGIC:
        return None
    row_count, rows_crc, aborted_count, aborted_crc = rest[6:]
    return StoredHeader(
        boot_id,
        base_offset,
        Coverage(*rest[:6]),
        row_count=row_count,
        rows_crc=rows_crc,
        aborted_count=aborted_count,
        aborted_crc=aborted_crc,
        closed=bool(flags & _CLOSED),
        durable=bool(flags & _DURABLE),
    )


def read_index_rows(raw: bytes, header: StoredHeader) -> list[IndexRow] | None:
    """The rows of an index file, without its header; None if they do not match their checksum."""
    raw = raw[: header.row_count * _ROW_BYTES]
    if crc32c(raw) != header.rows_crc:
        return None
    return [IndexRow(*fields) for fields in struct.iter_unpack("<qqq", raw)]


class SegmentIndex:
    """The rows of one segment: those that are stored, and those since. ``stored`` None: there is nothing stored."""

    __slots__ = ("_aborted", "_interval_bytes", "_last_position", "_offsets", "_positions", "_rows_verified",
                 "_timestamps", "aborted_path", "base_offset", "path", "stored")  # fmt: skip

    def __init__(self, log_path: Path, base_offset: int, interval_bytes: int) -> None:
        self.path = log_path.with_suffix(".index")
        self.aborted_path = log_path.with_suffix(".txnindex")
        self.base_offset = base_offset
        self.stored: StoredHeader | None = None
        self._interval_bytes = interval_bytes
        self._rows_verified = True
        self._forget_rows()
        self._last_position = -1

    def _forget_rows(self) -> None:
        self._offsets, self._positions, self._timestamps = array("q"), array("q"), array("q")
        self._aborted: list[AbortedTransaction] = []

    # Building

    def note(self, *, offset: int, position: int, max_timestamp_before_ms: int) -> None:
        """A batch begins here; it gets a row if the last one is far enough back."""
        if self._last_position < 0 or position - self._last_position >= self._interval_bytes:
            self._last_position = position
            self._offsets.append(offset)
            self._positions.append(position)
            self._timestamps.append(max_timestamp_before_ms)

    def note_aborted(self, row: AbortedTransaction) -> None:
        """A transaction was aborted by a marker in this segment."""
        self._aborted.append(row)

    # Storing

    def store(self, coverage: Coverage, *, closed: bool, boot_id: bytes) -> None:
        """Write the rows since the last time, then the header. ``OSError`` (disk full) leaves what was stored."""
        before = self.stored or StoredHeader(boot_id, self.base_offset, coverage)
        rows = _interleaved(self._offsets, self._positions, self._timestamps)
        aborted = b"".join(row.to_bytes() for row in self._aborted)
        if aborted:
            _append(self.aborted_path, aborted, at=before.aborted_count * ABORTED_ROW_BYTES)
        header = StoredHeader(
            boot_id,
            self.base_offset,
            coverage,
            before.row_count + len(self._offsets),
            crc32c(rows, before.rows_crc),
            before.aborted_count + len(self._aborted),
            crc32c(aborted, before.aborted_crc),
            closed,
        )
        fd = open_for_append(self.path)
        try:
            if rows:
                append_all(fd, [rows], end=HEADER_BYTES + before.row_count * _ROW_BYTES)
            os.pwrite(fd, header.to_bytes(), 0)
        finally:
            os.close(fd)
        self.stored = header
        self._forget_rows()

    def mark_durable(self, covered: Coverage) -> None:
        """The log is on disk as far as ``covered``; the header says so, if it still covers just that."""
        header = self.stored
        if header is None or header.coverage != covered or header.durable:
            return
        self.stored = replace(header, durable=True)
        fd = open_for_append(self.path)
        try:
            os.pwrite(fd, self.stored.to_bytes(), 0)
        finally:
            os.close(fd)

    def load(self) -> StoredHeader | None:
        """Read what is stored; None, with nothing stored any more, if it does not verify.

        The rows of aborted transactions are verified here; those by offset when they are first asked for
        (``verify_rows``), because a start reads all headers.
        """
        self._forget_rows()
        self._last_position = -1
        self.stored = self._read_header()
        self._rows_verified = self.stored is None or self.stored.row_count == 0
        if self.stored is None:
            return None
        if self.stored.aborted_count:
            raw = _read(self.aborted_path, 0, self.stored.aborted_count * ABORTED_ROW_BYTES)
            if crc32c(raw) != self.stored.aborted_crc:
                self.stored = None
        return self.stored

    def _read_header(self) -> StoredHeader | None:
        header = read_stored_header(_read(self.path, 0, HEADER_BYTES))
        return header if header is not None and header.base_offset == self.base_offset else None

    def resume(self) -> None:
        """Go on noting rows behind the stored ones. ``DamagedIndex`` if those do not verify."""
        self.verify_rows()
        if self.stored is not None and self.stored.row_count:
            at = HEADER_BYTES + (self.stored.row_count - 1) * _ROW_BYTES + _POSITION_AT
            self._last_position = int.from_bytes(_read(self.path, at, 8), "little", signed=True)

    def verify_rows(self) -> None:
        """``DamagedIndex`` if the stored rows by offset do not match their checksum."""
        if self._rows_verified or self.stored is None:
            return
        if crc32c(_read(self.path, HEADER_BYTES, self.stored.row_count * _ROW_BYTES)) != self.stored.rows_crc:
            raise DamagedIndex(f"{self.path} does not match its checksum")
        self._rows_verified = True

    def reset(self) -> None:
        """Forget everything, in memory and on disk."""
        self._forget_rows()
        self._last_position = -1
        self.stored = None
        self._rows_verified = True
        self.remove_files()

    def reset_rows(self) -> None:
        """Forget the rows by offset, on disk at the next ``store``; those of aborted transactions stay."""
        aborted = [*self.aborted_from(0)]
        self.reset()
        self._aborted = aborted

    def moved_to(self, log_path: Path) -> None:
        """The log has this name now; its rows are to be stored beside it."""
        self.path = log_path.with_suffix(".index")
        self.aborted_path = log_path.with_suffix(".txnindex")

    def remove_files(self) -> None:
        self.path.unlink(missing_ok=True)
        self.aborted_path.unlink(missing_ok=True)

    # Asking

    @property
    def aborted_count(self) -> int:
        return len(self._aborted) + (self.stored.aborted_count if self.stored else 0)

    def aborted_from(self, offset: int) -> Iterator[AbortedTransaction]:
        """Transactions whose abort marker lies at ``offset`` or after it, in the order of their markers."""
        if self.stored is not None and self.stored.aborted_count:
            yield from self._stored_aborted_from(offset, self.stored.aborted_count)
        slot = bisect_left(self._aborted, offset, key=_last_offset)
        yield from self._aborted[slot:]

    def _stored_aborted_from(self, offset: int, count: int) -> Iterator[AbortedTransaction]:
        with _StoredColumn(self.aborted_path, count, ABORTED_ROW_BYTES, LAST_OFFSET_AT, start=0) as column:
            slot = bisect_left(column, offset)
        while slot < count:
            rows = min(_CHUNK_ROWS, count - slot)
            yield from read_rows(_read(self.aborted_path, slot * ABORTED_ROW_BYTES, rows * ABORTED_ROW_BYTES))
            slot += rows

    def position_before(self, offset: int) -> int:
        """A batch boundary at or before the batch that holds ``offset``."""
        if self._offsets and offset >= self._offsets[0]:
            return self._positions[bisect_right(self._offsets, offset) - 1]
        return self._stored_position(_OFFSET_AT, offset, right=True)

    def position_before_time(self, timestamp_ms: int) -> int:
        """A batch boundary before which no batch has a timestamp that is not before ``timestamp_ms``."""
        if self._timestamps and self._timestamps[0] < timestamp_ms:
            return self._positions[bisect_left(self._timestamps, timestamp_ms) - 1]
        return self._stored_position(_TIMESTAMP_AT, timestamp_ms, right=False)

    def boundary_before(self, position: int) -> int:
        """The last known batch boundary that is not after ``position``."""
        if self._positions and position >= self._positions[0]:
            return self._positions[bisect_right(self._positions, position) - 1]
        return self._stored_position(_POSITION_AT, position, right=True)

    def _stored_position(self, column_at: int, value: int, *, right: bool) -> int:
        if self.stored is None or self.stored.row_count == 0:
            return 0
        self.verify_rows()
        bisect = bisect_right if right else bisect_left
        with _StoredColumn(self.path, self.stored.row_count, _ROW_BYTES, column_at, start=HEADER_BYTES) as column:
            slot = bisect(column, value) - 1
            return column.at(slot, _POSITION_AT) if slot >= 0 else 0


class _StoredColumn:
    """One column of the rows in a file, as a sequence to bisect: nothing is read but the rows that are compared."""

    def __init__(self, path: Path, count: int, row_bytes: int, column_at: int, *, start: int) -> None:
        self._path, self._count, self._row_bytes, self._column_at = path, count, row_bytes, column_at
        self._start = start
        self._fd = -1

    def __enter__(self) -> Self:
        self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, slot: int) -> int:
        return self.at(slot, self._column_at)

    def at(self, slot: int, column_at: int) -> int:
        raw = os.pread(self._fd, 8, self._start + slot * self._row_bytes + column_at)
        return int.from_bytes(raw, "little", signed=True)


def _last_offset(row: AbortedTransaction) -> int:
    return row.last_offset


def _interleaved(*columns: array[int]) -> bytes:
    rows = array("q", bytes(8 * len(columns) * len(columns[0])))
    for slot, column in enumerate(columns):
        rows[slot :: len(columns)] = column
    if sys.byteorder == "big":
        rows.byteswap()
    return rows.tobytes()


def _append(path: Path, data: bytes, *, at: int) -> None:
    fd = open_for_append(path)
    try:
        append_all(fd, [data], end=at)
    finally:
        os.close(fd)


def _read(path: Path, at: int, size: int) -> bytes:
    """Bytes of a file; fewer, or none, if the file is short or missing."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    try:
        return os.pread(fd, size, at)
    finally:
        os.close(fd)
