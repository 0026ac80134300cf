"""The log of one partition: its segments, from the oldest to the one that is appended to.

Owns: rolling, reading across segments, look-up by time, recovery of the whole folder. Must not know: producers,
transactions, the last stable offset.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tallystick.broker.log.durability import Durability, sync_folder
from tallystick.broker.log.segment import NO_TIMESTAMP, Segment, TornTail, segment_path
from tallystick.broker.log.settings import DEFAULTS, LogSettings
from tallystick.errors import CorruptData
from tallystick.wire.batch import BatchHeader, placed

LEADER_EPOCH = 0
"""There is one broker, so leadership never moves."""


@dataclass(frozen=True, slots=True)
class Slice:
    """What a read gives: whole batches, and the offset after the last of them."""

    data: bytes
    next_offset: int


class PartitionLog:
    """Appends and reads opaque batches. Up to ``end_offset`` they are written, up to ``synced_offset`` on disk."""

    def __init__(
        self,
        folder: Path,
        durability: Durability,
        *,
        on_batch: Callable[[BatchHeader, memoryview], None],
        settings: LogSettings = DEFAULTS,
    ) -> None:
        self.folder = folder
        self.torn: TornTail | None = None
        self.on_visible: Callable[[], None] = lambda: None
        self._durability = durability
        self._settings = settings
        self._segments: list[Segment] = []
        self._read_ends: dict[int, tuple[Segment, int]] = {}
        """Where the latest reads stopped: a consumer that follows the log goes on there without a search."""
        folder.mkdir(parents=True, exist_ok=True)
        self._recover(on_batch)
        self.synced_offset = self.end_offset

    @property
    def start_offset(self) -> int:
        return self._segments[0].base_offset

    @property
    def end_offset(self) -> int:
        return self._segments[-1].next_offset

    @property
    def visible_offset(self) -> int:
        """The high watermark: under ``--fsync commit`` nothing is shown that power loss could take back."""
        return self.synced_offset if self._durability.acknowledges_after_sync else self.end_offset

    def _recover(self, on_batch: Callable[[BatchHeader, memoryview], None]) -> None:
        bases = sorted(int(path.stem) for path in self.folder.glob("*.log"))
        for index, base in enumerate(bases):
            last = index == len(bases) - 1
            if self._segments and base != self._segments[-1].next_offset:
                raise CorruptData(
                    f"a segment begins at {base}, its predecessor ends at {self._segments[-1].next_offset}",
                    place=str(self.folder),
                )
            segment = Segment(segment_path(self.folder, base), base, self._settings)
            self._segments.append(segment)
            torn = segment.recover(verify_crc=last, may_cut=last, on_batch=on_batch)
            self._watch(segment)
            if torn is not None:
                self.torn = torn
        if not self._segments:
            self._roll(0)
        elif self._durability.acknowledges_after_sync:
            self._segments[-1].sync()

    def _watch(self, segment: Segment) -> None:
        segment.file.on_synced = self._on_synced

    def _on_synced(self, offset: int) -> None:
        if offset > self.synced_offset:
            self.synced_offset = offset
            self.on_visible()

    def _roll(self, base_offset: int) -> None:
        if self._segments and self._durability.syncs:
            self._durability.sync_now(self._segments[-1].file)
        segment = Segment(segment_path(self.folder, base_offset), base_offset, self._settings)
        self._watch(segment)
        self._segments.append(segment)
        if self._durability.syncs:
            sync_folder(self.folder)

    def append(self, header: BatchHeader, batch: bytes) -> BatchHeader:
        """Write one verified batch at the end and return its header as it stands there. ``OSError``: disk full."""
        self._durability.will_write(header.size_bytes)
        active = self._segments[-1]
        if active.size_bytes > 0 and active.size_bytes + header.size_bytes > self._settings.log_segment_bytes:
            self._roll(active.next_offset)
            active = self._segments[-1]
        base_offset = active.next_offset
        final = header._replace(base_offset=base_offset, partition_leader_epoch=LEADER_EPOCH)
        active.append(final, placed(batch, base_offset=base_offset, leader_epoch=LEADER_EPOCH))
        self._durability.wrote(active.file, final.next_offset)
        if not self._durability.acknowledges_after_sync:
            self.on_visible()
        return final

    def read(self, offset: int, *, max_bytes: int, limit_offset: int) -> Slice:
        """Whole batches from the one that holds ``offset``, up to ``limit_offset``, which is a batch boundary.

        At least one batch if there is one, even over ``max_bytes`` (KIP-74). One read stays within one segment.
        """
        if offset >= limit_offset:
            return Slice(b"", offset)
        known = self._read_ends.pop(offset, None)
        if known is not None and known[1] < known[0].size_bytes:
            segment, position = known
        else:
            segment = self._segment_of(offset)
            position = segment.position_of(offset)
            if position >= segment.size_bytes:
                following = self._after(segment)
                if following is None:
                    return Slice(b"", offset)
                segment, position = following, 0
        end = segment.size_bytes if limit_offset >= segment.next_offset else segment.position_of(limit_offset)
        data, stop = segment.read(position, max_bytes=max_bytes, end=end)
        next_offset = self._offset_at(segment, stop)
        if data:
            self._read_ends[next_offset] = (segment, stop)
            if len(self._read_ends) > 16:
                del self._read_ends[next(iter(self._read_ends))]
        return Slice(data, next_offset)

    def _offset_at(self, segment: Segment, position: int) -> int:
        if position >= segment.size_bytes:
            return segment.next_offset
        header = segment.header_at(position)
        return segment.next_offset if header is None else header.base_offset

    def _segment_of(self, offset: int) -> Segment:
        slot = bisect_right(self._segments, offset, key=lambda segment: segment.base_offset) - 1
        return self._segments[max(slot, 0)]

    def _after(self, segment: Segment) -> Segment | None:
        slot = self._segments.index(segment) + 1
        return self._segments[slot] if slot < len(self._segments) else None

    def batches_from_time(self, timestamp_ms: int) -> Iterator[tuple[BatchHeader, bytes]]:
        """Data batches that may hold a record at or after ``timestamp_ms``, in offset order."""
        for segment in self._segments:
            if segment.max_timestamp_ms >= timestamp_ms:
                yield from segment.batches_from_time(timestamp_ms)

    def max_timestamp(self) -> tuple[int, int]:
        """Largest timestamp and the last offset of the batch that has it; (-1, -1) in an empty log."""
        best = (NO_TIMESTAMP, -1)
        for segment in self._segments:
            if segment.max_timestamp_ms > best[0]:
                best = (segment.max_timestamp_ms, segment.max_timestamp_offset)
        return best

    def close(self) -> None:
        """Close the files; nothing is written any more."""
        for segment in self._segments:
            self._durability.retire(segment.file)
