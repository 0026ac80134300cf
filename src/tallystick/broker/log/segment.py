"""One segment: a file of record batches named by its first offset, and its index.

Owns: the file, reading and appending whole batches, finding them by offset and time. Must not know: other segments,
producers, transactions, what a start does.

The file is nothing but batches as Apache Kafka lays them out. Only the last segment of a log is open for appends; the
others are opened when they are read, and never written again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import structlog

from tallystick.broker.log.boots import Boots
from tallystick.broker.log.durability import SyncedFile
from tallystick.broker.log.files import Buffers, append_all, open_for_append
from tallystick.broker.log.read_check import ReadCheck
from tallystick.broker.log.segment_index import NO_TIMESTAMP, Coverage, DamagedIndex, SegmentIndex
from tallystick.broker.log.segment_scan import verified_batches
from tallystick.broker.log.settings import DEFAULTS, LogSettings
from tallystick.errors import CorruptData, TallystickError
from tallystick.wire.batch import HEADER_BYTES, Batch, BatchHeader, MalformedBatch, read_header

logger = structlog.get_logger(__name__)

DOOMED_SUFFIX: Final = ".deleted"
"""Added to the name of a segment that left its log; a start removes such files."""
_WALK_BYTES = 64 * 1024
_WALKED_BATCHES: Final = 32


def segment_path(folder: Path, base_offset: int) -> Path:
    return folder / f"{base_offset:020d}.log"


class Segment:
    """A segment. ``next_offset`` and ``size_bytes`` say where the next batch goes."""

    def __init__(self, path: Path, base_offset: int, settings: LogSettings = DEFAULTS) -> None:
        self.path = path
        self.base_offset = base_offset
        self.index = SegmentIndex(path, base_offset, settings.log_index_interval_bytes)
        self.file: SyncedFile | None = None
        """Set while the segment is open for appends."""
        self._check = ReadCheck(path)
        self.durable_bytes = 0
        """What a start knew to be on disk already."""
        self._read_fd = -1
        self._set(Coverage(next_offset=base_offset, log_bytes=0))

    def _set(self, coverage: Coverage) -> None:
        self.next_offset = coverage.next_offset
        self.size_bytes = coverage.log_bytes
        self.max_timestamp_ms = coverage.max_timestamp_ms
        self.max_timestamp_offset = coverage.max_timestamp_offset
        self._last_position = coverage.last_position
        self._last_crc = coverage.last_crc

    @property
    def coverage(self) -> Coverage:
        """All of the segment, as its index may say to cover it."""
        return Coverage(
            self.next_offset,
            self.size_bytes,
            self._last_position,
            self._last_crc,
            self.max_timestamp_ms,
            self.max_timestamp_offset,
        )

    @property
    def last_crc(self) -> int:
        """The checksum of the last batch; 0 if there is none."""
        return self._last_crc

    @property
    def is_durable(self) -> bool:
        """Whether all of it is known to be on disk."""
        stored = self.index.stored
        return stored is not None and stored.durable and stored.coverage.log_bytes == self.size_bytes

    # The file

    @property
    def fd(self) -> int:
        """A descriptor to read by."""
        if self.file is not None:
            return self.file.fd
        if self._read_fd < 0:
            self._read_fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        return self._read_fd

    def release(self) -> None:
        """Close the descriptor that reads opened; the next read opens it again."""
        if self._read_fd >= 0:
            os.close(self._read_fd)
            self._read_fd = -1

    def open_for_appends(self, on_synced: Callable[[int], None]) -> None:
        """Make the file if it is not there; ``OSError`` if that cannot be."""
        self.release()
        self.file = SyncedFile(open_for_append(self.path), on_synced)

    def doom(self) -> Path:
        """Take the file out of the log by its name, and remove its index; the file's new name. ``OSError``."""
        self.release()
        self.index.reset()
        doomed = self.path.with_name(self.path.name + DOOMED_SUFFIX)
        self.path.replace(doomed)
        return doomed

    def first_timestamp_ms(self) -> int:
        """The largest time in its first batch; -1 if it has none."""
        first = self.header_at(0)
        return NO_TIMESTAMP if first is None else first.max_timestamp_ms

    @property
    def largest_timestamp_ms(self) -> int:
        """The largest time of its records; if none has one, when the file was written."""
        if self.max_timestamp_ms >= 0:
            return self.max_timestamp_ms
        return os.fstat(self.fd).st_mtime_ns // 1_000_000

    # A start

    def load(self, boots: Boots) -> bool:
        """Take over what the stored index says of the log; False if there is none that may be believed.

        It is believed if it is of this log (the last batch that it covers is there), and if what it covers cannot have
        been lost since: it is on disk, or the machine was not restarted. ``CorruptData`` if it was lost all the same.
        """
        stored = self.index.load()
        self.durable_bytes = stored.coverage.log_bytes if stored is not None and stored.durable else 0
        if stored is None or (not stored.durable and stored.boot_id != boots.present):
            self.forget()
            return False
        if self.length() < stored.coverage.log_bytes:
            raise CorruptData(
                f"the file has {self.length()} bytes, {stored.coverage.log_bytes} were there when its index was "
                f"written: records are missing up to offset {stored.coverage.next_offset - 1}",
                place=f"{self.path}, byte {self.length()}",
            )
        if not self._ends_like(stored.coverage):
            self.forget()
            return False
        self._set(stored.coverage)
        self._check.trust_from(stored.coverage.log_bytes)
        return True

    def length(self) -> int:
        """The bytes that the file has."""
        return os.fstat(self.fd).st_size

    def _ends_like(self, coverage: Coverage) -> bool:
        if coverage.last_position < 0:
            return coverage.log_bytes == 0
        try:
            header = read_header(os.pread(self.fd, HEADER_BYTES, coverage.last_position))
        except MalformedBatch:
            return False
        ends_at = coverage.last_position + header.size_bytes
        return header.crc == coverage.last_crc and ends_at == coverage.log_bytes

    def forget(self) -> None:
        """Forget what is known of the file, the stored index too: it is walked again from its beginning."""
        self.index.reset()
        self._set(Coverage(next_offset=self.base_offset, log_bytes=0))
        self._check.trust_from(0)

    def note(self, header: BatchHeader) -> None:
        """The batch of this header lies at the end of what is known of the file."""
        position = self.size_bytes
        self.index.note(offset=header.base_offset, position=position, max_timestamp_before_ms=self.max_timestamp_ms)
        if header.max_timestamp_ms > self.max_timestamp_ms and not header.is_control:
            self.max_timestamp_ms = header.max_timestamp_ms
            self.max_timestamp_offset = header.last_offset
        self._last_position = position
        self._last_crc = header.crc
        self.next_offset = header.next_offset
        self.size_bytes = position + header.size_bytes

    # Appending

    def append(self, header: BatchHeader, buffers: Buffers) -> None:
        """Write one batch whose header already has its final base offset. ``OSError`` with nothing written."""
        if self.file is None:
            raise TallystickError(f"{self.path} is closed for appends")
        append_all(self.file.fd, buffers, end=self.size_bytes)
        self.note(header)

    def write(self, fd: int, header: BatchHeader, batch: bytes) -> None:
        """Write one batch as it is, for who fills a new segment. ``OSError`` with nothing written."""
        append_all(fd, [batch], end=self.size_bytes)
        self.note(header)

    def moved_to(self, path: Path) -> None:
        """The file has this name now; nothing of the index is stored yet."""
        self.path = path
        self.index.moved_to(path)

    # Reading

    def position_of(self, offset: int) -> int:
        """Where the batch that holds ``offset`` begins, or the next one after it; the size if there is none."""
        if offset >= self.next_offset:
            return self.size_bytes
        for header, at in self._walk(self._looked_up(self.index.position_before, offset)):
            if header.last_offset >= offset:
                return at
        return self.size_bytes

    def _looked_up(self, look_up: Callable[[int], int], value: int) -> int:
        try:
            return look_up(value)
        except DamagedIndex as damage:
            logger.warning("a damaged index is rebuilt from its segment", reason=str(damage))
            self._rebuild_rows()
            return look_up(value)

    def _rebuild_rows(self) -> None:
        """Rows by offset and time again; those of aborted transactions were verified when they were loaded."""
        whole, stored = self.coverage, self.index.stored
        self.index.reset_rows()
        self._set(Coverage(next_offset=self.base_offset, log_bytes=0))
        for header, _, _ in verified_batches(
            self.fd, start=0, end=whole.log_bytes, next_offset=self.base_offset, gaps=True
        ):
            self.note(header)
        self._set(whole)
        if stored is not None:
            self.index.store(whole, closed=stored.closed, boot_id=stored.boot_id)

    def _walk(self, position: int) -> Iterator[tuple[BatchHeader, int]]:
        """Headers from a batch boundary on."""
        chunk, start = b"", position
        while position < self.size_bytes:
            if position + HEADER_BYTES > start + len(chunk):
                chunk, start = os.pread(self.fd, _WALK_BYTES, position), position
            header = self._read_header(chunk, position - start, position)
            yield header, position
            position += header.size_bytes

    def _read_header(self, chunk: bytes, at: int, position: int) -> BatchHeader:
        try:
            return read_header(chunk, at)
        except MalformedBatch as error:
            raise CorruptData(str(error), place=f"{self.path}, byte {position}") from error

    def read(self, position: int, *, max_bytes: int, end: int, at_least_one: bool = True) -> tuple[Batch, int]:
        """Whole batches from ``position``, and where the next begins; with ``at_least_one`` one if there is one.

        ``CorruptData``: the first one does not verify.
        """
        if position >= end:
            return b"", position
        data = self._check.checked(self._read(position, max_bytes, end, at_least_one=at_least_one), position)
        return data, position + len(data)

    def _read(self, position: int, max_bytes: int, end: int, *, at_least_one: bool) -> Batch:
        data = os.pread(self.fd, min(max(max_bytes, HEADER_BYTES), end - position), position)
        if position + len(data) >= end:
            return data
        cut = self._last_boundary(data, position)
        if cut == 0 and at_least_one:
            header = self._read_header(data, 0, position)
            return os.pread(self.fd, header.size_bytes, position)
        return memoryview(data)[:cut]

    def _last_boundary(self, data: bytes, position: int) -> int:
        """How many of the bytes read from ``position`` are whole batches.

        Few and large ones are walked over from the first; the index finds the last of many.
        """
        at = 0
        if len(data) > HEADER_BYTES and len(data) > _WALKED_BATCHES * self._read_header(data, 0, position).size_bytes:
            at = max(self._looked_up(self.index.boundary_before, position + len(data)) - position, 0)
        while at + HEADER_BYTES <= len(data):
            try:
                size = self._read_header(data, at, position + at).size_bytes
            except CorruptData:
                if at == 0:
                    raise
                break  # for whoever reads on from there
            if at + size > len(data):
                break
            at += size
        return at

    def header_at(self, position: int) -> BatchHeader | None:
        """The header of the batch that begins here; None at the end."""
        if position >= self.size_bytes:
            return None
        return self._read_header(os.pread(self.fd, HEADER_BYTES, position), 0, position)

    def batches_from_time(self, timestamp_ms: int) -> Iterator[tuple[BatchHeader, bytes]]:
        """Data batches whose largest timestamp is not before ``timestamp_ms``, in offset order."""
        for header, position in self._walk(self._looked_up(self.index.position_before_time, timestamp_ms)):
            if header.max_timestamp_ms >= timestamp_ms and not header.is_control:
                yield header, os.pread(self.fd, header.size_bytes, position)


__all__ = ["NO_TIMESTAMP", "Segment", "segment_path"]
