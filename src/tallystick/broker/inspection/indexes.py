"""The stored index of one segment, against the batches as they are walked.

Owns: the comparison of ``.index`` and ``.txnindex`` with the log. Must not know: how batches are read.
"""

from __future__ import annotations

from pathlib import Path

from crc32c import crc32c

from tallystick.broker.inspection.findings import Report
from tallystick.broker.log.aborted import ABORTED_ROW_BYTES, AbortedTransaction, read_rows
from tallystick.broker.log.boots import Boots
from tallystick.broker.log.segment_index import HEADER_BYTES, Coverage, IndexRow, read_index_rows, read_stored_header
from tallystick.wire.batch import BatchHeader


class IndexCheck:
    """Fed with every batch of the segment, then ended. ``believed_bytes``: so many the index says to be there."""

    def __init__(self, log_path: Path, base_offset: int, report: Report, boots: Boots) -> None:
        self.log_path = log_path
        self._path = log_path.with_suffix(".index")
        self._aborted_path = log_path.with_suffix(".txnindex")
        self._report = report
        self._rows: list[IndexRow] = []
        self._aborted: list[AbortedTransaction] = []
        self._found_aborted: list[AbortedTransaction] = []
        self._at = Coverage(next_offset=base_offset, log_bytes=0)
        self._comparable = True
        raw = self._path.read_bytes() if self._path.exists() else b""
        self._header = read_stored_header(raw)
        self.believed_bytes = self.durable_bytes = 0
        if self._header is None or self._header.base_offset != base_offset:
            self._header = None
            if raw:
                report.mended(self._path, "the index does not verify: the next start rebuilds it from the log")
            return
        if self._header.durable or self._header.boot_id == boots.present:
            self.believed_bytes = self._header.coverage.log_bytes
        if self._header.durable:
            self.durable_bytes = self._header.coverage.log_bytes
        self._load(raw)

    def _load(self, raw: bytes) -> None:
        header = self._header
        if header is None:
            return
        rows = read_index_rows(raw[HEADER_BYTES:], header)
        if rows is None:
            self._report.mended(self._path, "its rows do not match their checksum: they are rebuilt when needed")
        else:
            self._rows = rows
            self._report.index_rows += len(rows)
        wanted = header.aborted_count * ABORTED_ROW_BYTES
        stored = self._aborted_path.read_bytes()[:wanted] if wanted and self._aborted_path.exists() else b""
        if crc32c(stored) != header.aborted_crc or len(stored) != wanted:
            self._report.mended(self._aborted_path, "it does not match its checksum: the next start rebuilds it")
            self._comparable = False
        else:
            self._aborted = list(read_rows(stored))
        self._rows.reverse()

    def skipped(self) -> None:
        """Batches were skipped, so that not everything can be compared."""
        self._comparable = False

    def batch(self, header: BatchHeader, position: int, aborted: AbortedTransaction | None) -> None:
        """The next batch, and the transaction that it aborts."""
        while self._rows and self._rows[-1].position <= position:
            row = self._rows.pop()
            expected = IndexRow(header.base_offset, position, self._at.max_timestamp_ms)
            if row != expected and self._comparable:
                self._report.damage(
                    self._path, f"a row says {row}, the log {expected}", position=position, offset=header.base_offset
                )
        if aborted is not None:
            self._found_aborted.append(aborted)
        timestamp_ms, timestamp_offset = self._at.max_timestamp_ms, self._at.max_timestamp_offset
        if header.max_timestamp_ms > timestamp_ms and not header.is_control:
            timestamp_ms, timestamp_offset = header.max_timestamp_ms, header.last_offset
        ends_at = position + header.size_bytes
        self._at = Coverage(header.next_offset, ends_at, position, header.crc, timestamp_ms, timestamp_offset)
        if self._header is not None and ends_at == self._header.coverage.log_bytes:
            self._compare_with(self._at)

    def _compare_with(self, found: Coverage) -> None:
        if self._header is None or not self._comparable:
            return
        if found != self._header.coverage:
            self._report.damage(self._path, f"the index says {self._header.coverage}, the log {found}")
        if self._found_aborted != self._aborted:
            self._report.damage(self._aborted_path, f"it has {self._aborted}, the log {self._found_aborted}")
        self._header = None  # compared

    def end(self, length: int) -> None:
        """There are no more batches in this file of so many bytes."""
        if self._header is None or not self._comparable or self._header.coverage.log_bytes == 0:
            return
        covered = self._header.coverage
        if covered.log_bytes > length and self.believed_bytes:
            self._report.damage(
                self.log_path,
                f"the file has {length} bytes, {covered.log_bytes} were there when the index was written: "
                f"offsets up to {covered.next_offset - 1} are missing",
                position=length,
                offset=self._at.next_offset,
            )
        else:
            self._report.mended(self._path, "the index covers no whole batches of this log: the next start rebuilds it")
