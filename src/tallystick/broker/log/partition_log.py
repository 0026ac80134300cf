"""The log of one partition: its segments, from the oldest to the one that is appended to.

Owns: rolling, reading across segments, look-up by time, the aborted transactions of all segments, checkpoints. Must not
know: producers, the last stable offset, what a start does with what it finds (``partition_recovery``).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import structlog

from tallystick.broker.log import segment_swap
from tallystick.broker.log.aborted import AbortedTransaction
from tallystick.broker.log.boots import Boots
from tallystick.broker.log.checkpoints import Checkpoints
from tallystick.broker.log.compaction_point import CompactionPoint, write_point
from tallystick.broker.log.durability import Durability, sync_folder
from tallystick.broker.log.partition_recovery import PartitionRecovery, RecoveredLog, ReplayedState
from tallystick.broker.log.read_cache import ReadCache
from tallystick.broker.log.segment import Segment, segment_path
from tallystick.broker.log.segment_index import NO_TIMESTAMP
from tallystick.broker.log.settings import DEFAULTS, LogSettings, SegmentAge
from tallystick.broker.log.start_offset import write_start_offset
from tallystick.broker.log.torn_tail import TornTail
from tallystick.errors import CorruptData
from tallystick.wire.batch import Batch, BatchHeader, placed, read_header

logger = structlog.get_logger(__name__)

LEADER_EPOCH = 0
"""There is one broker, so leadership never moves."""


class Slice(NamedTuple):
    """What a read gives: whole batches, and the offset after the last of them."""

    data: Batch
    next_offset: int


class PartitionLog:
    """Appends and reads opaque batches. Up to ``end_offset`` they are written, up to ``synced_offset`` on disk.

    ``state`` is brought to the log's end at the start, and saved with every checkpoint; whoever appends applies.
    """

    def __init__(
        self,
        folder: Path,
        durability: Durability,
        state: ReplayedState,
        *,
        settings: LogSettings = DEFAULTS,
        boots: Boots | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self.folder = folder
        self.on_visible: Callable[[], None] = lambda: None
        self.unsaved_batches = 0
        self.unsaved_bytes = 0
        self.age = SegmentAge()
        self._durability = durability
        self._state = state
        self.settings = settings
        self._boots = boots or Boots.same()
        self._checkpoints = checkpoints or Checkpoints()
        self._reads = ReadCache()
        folder.mkdir(parents=True, exist_ok=True)
        recovery = PartitionRecovery(folder, state, settings=settings, boots=self._boots)
        try:
            self.recovered: RecoveredLog = recovery.run()
        except OSError as error:
            raise CorruptData(f"the log cannot be read: {error}", place=str(folder)) from error
        self._snapshots = recovery.snapshots
        self._segments = self.recovered.segments
        self._given_up_before = self.recovered.start_offset
        self.compaction = self.recovered.compaction
        self._first_timestamp_ms = NO_TIMESTAMP
        """Of the segment that is appended to: its age counts from here."""
        if self._segments:
            self._go_on()
        else:
            self._open(0)
        self.synced_offset = self.end_offset

    def _go_on(self) -> None:
        """Open the last segment for appends, and finish what the last process could not."""
        active = self._segments[-1]
        active.open_for_appends(self._on_synced)
        first = active.header_at(0)
        if first is not None:
            self._first_timestamp_ms = first.max_timestamp_ms
        if self._durability.acknowledges_after_sync:
            # What the last process wrote may not be on disk, and readers are about to see it.
            for segment in self._segments:
                if segment is active or not segment.is_durable:
                    self._durability.sync_file_now(segment.path)
        for segment in self._segments[:-1]:
            if not segment.is_durable:
                self._durability.sync_later(segment.path, partial(segment.index.mark_durable, segment.coverage))
        if self.recovered.replayed_batches > 0:
            self._try_checkpoint()

    # Offsets

    @property
    def torn(self) -> TornTail | None:
        """What the start cut off."""
        return self.recovered.torn

    @property
    def segments(self) -> Sequence[Segment]:
        """Oldest first; the last one is appended to."""
        return self._segments

    @property
    def start_offset(self) -> int:
        segments = self._segments
        start_offset = max(segments[0].base_offset, self._given_up_before)
        return min(start_offset, segments[-1].next_offset)

    @property
    def end_offset(self) -> int:
        return self._segments[-1].next_offset

    @property
    def visible_offset(self) -> int:
        """The high watermark: under ``--fsync commit`` nothing is shown that power loss could take back."""
        return self.synced_offset if self._durability.acknowledges_after_sync else self._segments[-1].next_offset

    def _on_synced(self, offset: int) -> None:
        if offset > self.synced_offset:
            self.synced_offset = offset
            self.on_visible()

    # Appending

    def append(self, header: BatchHeader, batch: Batch) -> BatchHeader:
        """Write one verified batch at the end and return its header as it stands there. ``OSError``: disk full."""
        durability, size_bytes = self._durability, header.size_bytes
        durability.will_write(size_bytes)
        active = self._segments[-1]
        if active.size_bytes > 0 and (
            active.size_bytes + size_bytes > self.settings.log_segment_bytes or self._is_full_aged(header)
        ):
            self.roll()
            active = self._segments[-1]
        final = header.at(base_offset=active.next_offset, leader_epoch=LEADER_EPOCH)
        active.append(final, placed(final, batch))
        if self._first_timestamp_ms < 0:
            self._first_timestamp_ms = header.max_timestamp_ms
        self.unsaved_batches += 1
        self.unsaved_bytes += size_bytes
        self._checkpoints.appended(self, size_bytes)
        if active.file is not None:
            durability.wrote(active.file, active.next_offset)
        if not durability.acknowledges_after_sync:
            self.on_visible()
        return final

    def _is_full_aged(self, header: BatchHeader) -> bool:
        """Whether so much time lies between this batch and the segment's first one that the next segment begins."""
        return self._first_timestamp_ms >= 0 and (
            header.max_timestamp_ms - self._first_timestamp_ms > self.age.limit_of(self._segments[-1].base_offset)
        )

    def note_aborted(self, row: AbortedTransaction) -> None:
        """The batch that was appended last is the abort marker of this transaction."""
        self._segments[-1].index.note_aborted(row)

    def roll(self) -> None:
        """Close the segment that is appended to and begin the next one. ``OSError``: disk full, nothing changed.

        ``state`` must stand at the log's end, so that it can be saved as it is where the new segment begins.
        """
        closed = self._segments[-1]
        self._open(closed.next_offset)
        file, closed.file = closed.file, None
        if file is not None:
            if self._durability.acknowledges_after_sync:
                self._durability.sync_now(file)
            self._durability.retire(file)
        try:
            self._save(closed, closed=True)
        except OSError as error:
            logger.warning("a closed segment has no index: the next start reads it", reason=str(error))
        self._durability.sync_later(closed.path, partial(closed.index.mark_durable, closed.coverage))

    def _open(self, base_offset: int) -> None:
        segment = Segment(segment_path(self.folder, base_offset), base_offset, self.settings)
        segment.open_for_appends(self._on_synced)
        self._segments.append(segment)
        self._first_timestamp_ms = NO_TIMESTAMP
        if self._durability.syncs:
            sync_folder(self.folder)

    # Giving up the oldest

    def begin_at(self, offset: int) -> None:
        """Show nothing before ``offset`` any more, and never again. ``OSError``: disk full, nothing changed."""
        if offset > self.start_offset:
            write_start_offset(self.folder, offset)
            self._given_up_before = offset

    def drop_oldest(self, count: int) -> list[Path]:
        """Take the first segments out of the log; their files, which are there still under other names.

        ``OSError``: nothing changed, or less than was to be. If all of them go, an empty segment takes their place.
        """
        if count == len(self._segments):
            self.roll()
        while count > 0 and not self._snapshots.sync(self._segments[count].base_offset):
            count -= 1  # a start could not know the producers before it
        if count == 0:
            return []
        self.begin_at(self._segments[count].base_offset)
        gone, self._segments = self._segments[:count], self._segments[count:]
        self._reads.forget(gone)
        doomed = []
        for segment in gone:
            doomed.append(segment.doom())
            self._snapshots.remove(segment.base_offset)
        return doomed

    # Compaction

    def note_compaction(self, point: CompactionPoint) -> None:
        """How far the log is compacted, kept over restarts. ``OSError``: disk full, nothing changed."""
        if point != self.compaction:
            write_point(self.folder, point)
            self.compaction = point

    def replace(self, old: Sequence[Segment], cleaned: Segment) -> list[Path] | None:
        """Put a compacted segment, which is on disk, into the place of neighbours; their files, to be removed.

        None if some of them are no longer of this log. ``OSError``: nothing changed, or the next start completes it.
        """
        place = bisect_left(self._segments, old[0].base_offset, key=lambda segment: segment.base_offset)
        if self._segments[place : place + len(old)] != list(old):
            return None
        end_offset = self._segments[place + len(old)].base_offset
        self._snapshots.sync(end_offset)  # the compacted segment tells less of the producers
        decided = segment_swap.decide(cleaned.path, base_offset=cleaned.base_offset, end_offset=end_offset)
        self._reads.forget(old)
        for segment in old:
            segment.release()
            segment.index.reset()
        doomed = segment_swap.complete(decided)
        cleaned.moved_to(segment_path(self.folder, cleaned.base_offset))
        self._segments[place : place + len(old)] = [cleaned]
        for segment in old[1:]:
            self._snapshots.remove(segment.base_offset)
        try:
            cleaned.index.store(cleaned.coverage, closed=True, boot_id=self._boots.present)
            cleaned.index.mark_durable(cleaned.coverage)
        except OSError as error:
            logger.warning("a compacted segment has no index: the next start reads it", reason=str(error))
        return doomed

    # Checkpoints

    def checkpoint(self) -> None:
        """Save index and state, so that a start reads nothing before here. ``OSError``: disk full; nothing is lost."""
        active = self._segments[-1]
        if self.unsaved_batches == 0 or active.size_bytes == 0:
            return
        self._save(active, closed=False)
        if self._durability.syncs:
            self._durability.sync_later(active.path, partial(active.index.mark_durable, active.coverage))

    def _try_checkpoint(self) -> None:
        active = self._segments[-1]
        if active.size_bytes == 0:
            return
        try:
            self._save(active, closed=False)
        except OSError as error:
            logger.warning("no checkpoint can be written: the next start reads as much", reason=str(error))

    def _save(self, segment: Segment, *, closed: bool) -> None:
        before = segment.index.stored
        self._snapshots.save(segment.next_offset, segment.last_crc, self._state.save())
        segment.index.store(segment.coverage, closed=closed, boot_id=self._boots.present)
        self._checkpoints.saved(self)
        self.unsaved_batches = self.unsaved_bytes = 0
        if before is not None and before.coverage.next_offset != segment.next_offset:
            self._snapshots.remove(before.coverage.next_offset)

    # Reading

    def read(self, offset: int, *, max_bytes: int, limit_offset: int, at_least_one: bool = True) -> Slice:
        """Whole batches from the one that holds ``offset``, up to ``limit_offset``, which is a batch boundary.

        With ``at_least_one`` a batch if there is one, even over ``max_bytes``. One read stays within one segment.
        """
        if offset >= limit_offset or (max_bytes <= 0 and not at_least_one):
            return Slice(b"", offset)
        known = self._reads.take(offset)
        if known is not None:
            segment, position = known
        else:
            slot = self._slot_of(offset)
            segment = self._segments[slot]
            position = segment.position_of(offset)
            while position >= segment.size_bytes:
                slot += 1
                if slot == len(self._segments):
                    return Slice(b"", offset)
                segment, position = self._segments[slot], 0
        end = segment.size_bytes if limit_offset >= segment.next_offset else segment.position_of(limit_offset)
        data, stop = segment.read(position, max_bytes=max_bytes, end=end, at_least_one=at_least_one)
        next_offset = self._offset_after(data, segment, stop) if data else offset
        if data:
            self._reads.stopped(next_offset, segment, stop)
        self._reads.used(segment)
        return Slice(data, next_offset)

    def _offset_at(self, segment: Segment, position: int) -> int:
        if position >= segment.size_bytes:
            return segment.next_offset
        header = segment.header_at(position)
        return segment.next_offset if header is None else header.base_offset

    def _offset_after(self, data: Batch, segment: Segment, stop: int) -> int:
        """Where the batches in ``data`` end; what follows at ``stop`` may be damaged, and is told to who reads that."""
        try:
            return self._offset_at(segment, stop)
        except CorruptData:
            at, next_offset = 0, segment.base_offset
            while at < len(data):
                header = read_header(data, at)
                at, next_offset = at + header.size_bytes, header.next_offset
            return next_offset

    def _slot_of(self, offset: int) -> int:
        return max(bisect_right(self._segments, offset, key=lambda segment: segment.base_offset) - 1, 0)

    def batches_from_time(self, timestamp_ms: int) -> Iterator[tuple[BatchHeader, bytes]]:
        """Data batches that may hold a record at or after ``timestamp_ms``, in offset order."""
        for segment in list(self._segments):
            if segment.max_timestamp_ms >= timestamp_ms:
                yield from segment.batches_from_time(timestamp_ms)
                self._reads.used(segment)

    def max_timestamp(self) -> tuple[int, int]:
        """Largest timestamp and the last offset of the batch that has it; (-1, -1) in an empty log."""
        best = (NO_TIMESTAMP, -1)
        for segment in self._segments:
            if segment.max_timestamp_ms > best[0]:
                best = (segment.max_timestamp_ms, segment.max_timestamp_offset)
        return best

    def aborted_between(self, start_offset: int, end_offset: int) -> list[AbortedTransaction]:
        """Each aborted transaction that overlaps ``[start_offset, end_offset)``, in the order of their markers."""
        found = []
        for segment in self._segments[self._slot_of(start_offset) :]:
            if not segment.index.aborted_count:
                continue
            for row in segment.index.aborted_from(start_offset):
                if row.first_offset < end_offset:
                    found.append(row)
                if row.last_stable_offset >= end_offset:
                    return found
        return found

    # The end

    def close(self) -> None:
        """Close the files; nothing is written any more."""
        self._checkpoints.saved(self)
        self.unsaved_batches = self.unsaved_bytes = 0
        for segment in self._segments:
            if segment.file is not None:
                self._durability.retire(segment.file)
                segment.file = None
            segment.release()
