"""One partition's folder: every batch, and every index and snapshot against what the batches add up to.

Owns: the walk over the segments, what is torn and what is damage. Must not know: topics, journals, other partitions.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tallystick.broker.inspection.findings import Report, Severity
from tallystick.broker.inspection.indexes import IndexCheck
from tallystick.broker.inspection.snapshots import compare, producers_in
from tallystick.broker.log.boots import Boots
from tallystick.broker.log.partition_log import LEADER_EPOCH
from tallystick.broker.log.partition_recovery import ASIDE_SUFFIX
from tallystick.broker.log.segment_scan import BadBatch, find_batch, is_unwritten, verified_batches
from tallystick.broker.log.state_snapshots import SUFFIX, read_snapshot
from tallystick.broker.producer_snapshot import ReplayedProducers
from tallystick.broker.producer_state import ProducerStates
from tallystick.errors import CorruptData
from tallystick.wire.batch import BatchHeader

OnBytes = Callable[[int], None]
"""Told how many more bytes of logs were read, for a progress bar."""


@dataclass(slots=True)
class PartitionCheck:
    """``run`` it once. ``producers`` is what the log adds up to, ``end_offset`` where it ends."""

    folder: Path
    name: str
    report: Report
    boots: Boots
    on_bytes: OnBytes
    gaps: bool = False
    """Whether offsets may be missing, as compaction leaves them."""
    producers: ProducerStates = field(default_factory=ProducerStates)
    start_offset: int = 0
    end_offset: int = 0
    _snapshots: dict[int, bytes] = field(default_factory=dict)

    def run(self) -> None:
        bases = self._list()
        if not bases:
            return
        self.start_offset = self.end_offset = bases[0]
        state = ReplayedProducers(self.producers, self.name)
        self._begin(state, bases[0])
        for number, base in enumerate(bases):
            path = self.folder / f"{base:020d}.log"
            if base != self.end_offset and not (self.gaps and base > self.end_offset):
                self.report.damage(
                    path, f"the segment begins at {base}, the one before it ends at {self.end_offset}", offset=base
                )
            self.end_offset = base
            self.report.segments += 1
            try:
                self._segment(path, base, state, is_last=number == len(bases) - 1)
            except OSError as error:
                self.report.damage(path, f"it cannot be read: {error.strerror}", offset=base)
        for offset in self._snapshots:
            self.report.mended(
                self.folder / f"{offset:020d}{SUFFIX}", "the snapshot stands where no batch ends", offset=offset
            )
        self.report.producers += len(self.producers.producers)

    def _list(self) -> list[int]:
        bases = []
        for entry in sorted(os.scandir(self.folder), key=lambda entry: entry.name):
            path = Path(entry.path)
            if path.name.endswith(ASIDE_SUFFIX):
                self.report.add(Severity.NOTE, path, "set aside by an earlier start: no broker reads it")
            elif path.suffix == ".log" and path.stem.isdecimal():
                bases.append(int(path.stem))
            elif path.suffix == SUFFIX and path.stem.isdecimal():
                self._read_snapshot(path, int(path.stem))
        return bases

    def _read_snapshot(self, path: Path, offset: int) -> None:
        self.report.snapshots += 1
        try:
            found = read_snapshot(path.read_bytes())
        except OSError as error:
            self.report.damage(path, f"it cannot be read: {error.strerror}", offset=offset)
            return
        if found is None or found[0] != offset:
            self.report.mended(path, "the snapshot does not verify: a start replays the log instead", offset=offset)
        else:
            self._snapshots[offset] = found[2]

    def _begin(self, state: ReplayedProducers, base: int) -> None:
        """What came before the first segment is known by its snapshot only."""
        payload = self._snapshots.pop(base, None)
        try:
            state.restore(payload)
        except CorruptData as error:
            self.report.mended(self.folder / f"{base:020d}{SUFFIX}", str(error), offset=base)

    def _segment(self, path: Path, base: int, state: ReplayedProducers, *, is_last: bool) -> None:
        index = IndexCheck(path, base, self.report, self.boots)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            length = os.fstat(fd).st_size
            position = 0
            while position < length:
                try:
                    for header, at, batch in verified_batches(
                        fd, start=position, end=length, next_offset=self.end_offset, gaps=self.gaps and not is_last
                    ):
                        self._batch(header, at, batch, state, index)
                    position = length
                except BadBatch as bad:
                    position = self._bad(path, fd, bad, length, index, is_last=is_last)
            index.end(length)
        finally:
            os.close(fd)

    def _batch(
        self, header: BatchHeader, position: int, batch: memoryview, state: ReplayedProducers, index: IndexCheck
    ) -> None:
        row = None
        try:
            row = state.apply(header, batch)
        except CorruptData as error:
            self.report.damage(index.log_path, str(error), position=position, offset=header.base_offset)
        if header.partition_leader_epoch != LEADER_EPOCH:  # the checksum does not cover it
            text = f"leader epoch {header.partition_leader_epoch}, where there is only {LEADER_EPOCH}"
            self.report.damage(index.log_path, text, position=position, offset=header.base_offset)
        index.batch(header, position, row)
        self.end_offset = header.next_offset
        self.report.batches += 1
        self.report.log_bytes += header.size_bytes
        self.report.aborted_transactions += row is not None
        self.on_bytes(header.size_bytes)
        payload = self._snapshots.pop(header.next_offset, None)
        if payload is not None:
            self._compare(payload, header.next_offset)

    def _compare(self, payload: bytes, offset: int) -> None:
        path = self.folder / f"{offset:020d}{SUFFIX}"
        try:
            difference = compare(producers_in(payload), self.producers.producers)
        except CorruptData as error:
            self.report.mended(path, str(error), offset=offset)
            return
        if difference:
            self.report.damage(path, f"the snapshot is not what the log adds up to: {difference}", offset=offset)

    def _bad(self, path: Path, fd: int, bad: BadBatch, length: int, index: IndexCheck, *, is_last: bool) -> int:
        """Say what it is, and where the walk goes on."""
        later = find_batch(fd, start=bad.position + 1, end=length, at_least=bad.offset)
        unsynced = self.boots.machine_restarted and bad.position >= index.durable_bytes
        torn = later is None and is_last and bad.position >= index.believed_bytes
        power_loss = unsynced and (later is None or is_unwritten(fd, start=bad.position, end=later[0]))
        self.on_bytes((length if later is None else later[0]) - bad.position)
        if torn or power_loss:
            text = f"a torn write of {length - bad.position} bytes, which the next start cuts off: {bad.reason}"
            self.report.mended(path, text, position=bad.position, offset=bad.offset)
            return length
        if later is None:
            text = f"a batch does not verify, and none after it in this segment: {bad.reason}"
            self.report.damage(path, text, position=bad.position, offset=bad.offset)
            return length
        at, header = later
        text = (
            f"a batch does not verify: {bad.reason}; the next whole one is at byte {at}, offset {header.base_offset}, "
            f"so that {header.base_offset - bad.offset} offsets are unreadable"
        )
        self.report.damage(path, text, position=bad.position, offset=bad.offset)
        self.end_offset = header.base_offset
        index.skipped()
        self._snapshots.clear()  # what was skipped is in them
        return at
