"""Compacting one log, step by step.

Owns: the order of the work: read the keys, write the segments anew, swap them in. Must not know: what stays of a batch
(``retained``), when a step may be made.

The log goes on meanwhile: what is read here is closed and lies below the last stable offset. Before a swap the segments
must still be those of the log; retention may have taken them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tallystick.broker.log.aborted import AbortedTransaction
from tallystick.broker.log.compaction.choice import CompactionRules, Due
from tallystick.broker.log.compaction.latest_offsets import LatestOffsets
from tallystick.broker.log.compaction.retained import Retained, noted
from tallystick.broker.log.compaction.transactions import ReadTransactions
from tallystick.broker.log.compaction_point import CompactionPoint
from tallystick.broker.log.durability import Durability
from tallystick.broker.log.files import open_for_append
from tallystick.broker.log.partition_log import PartitionLog
from tallystick.broker.log.segment import Segment
from tallystick.broker.log.segment_scan import verified_batches
from tallystick.broker.log.segment_swap import cleaned_path
from tallystick.wire.batch import BatchHeader, read_header

WORKED: Final = False
WAITS: Final = True
"""What a step yields: whether it waits for the disk, so that there is nothing to do for now."""

Work = Generator[bool]


@dataclass(slots=True)
class Outcome:
    """What a pass did."""

    end: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    doomed: list[Path] = field(default_factory=list)
    """Files that are out of the log, and still on the disk."""


class LogChanged(Exception):
    """Segments that are compacted left the log meanwhile: the pass ends, nothing is lost."""


@dataclass(frozen=True, slots=True)
class Compaction:
    """One pass over a log. ``is_last`` tells whether a batch is its producer's last one, as things stand."""

    log: PartitionLog
    durability: Durability
    due: Due
    rules: CompactionRules
    is_last: Callable[[BatchHeader], bool]
    buffer_bytes: int
    now_ms: int
    outcome: Outcome = field(default_factory=Outcome)

    def run(self) -> Work:
        """``CorruptData``, ``BadBatch``, ``MalformedBatch`` if the log cannot be read, ``OSError``, ``LogChanged``."""
        latest = LatestOffsets(self.buffer_bytes)
        end = yield from self._note_keys(latest)
        segments = [segment for segment in self.log.segments[:-1] if segment.base_offset < end]
        gaps_before = max(self.log.compaction.gaps_before, segments[-1].next_offset)
        self.log.note_compaction(CompactionPoint(self.log.compaction.cleaned_offset, gaps_before))
        retained = Retained(
            latest,
            ReadTransactions(self._aborted(segments)),
            self.is_last,
            now_ms=self.now_ms,
            delete_retention_ms=self.rules.delete_retention_ms,
        )
        for group in _groups(segments, self.rules.segment_bytes):
            yield from self._rewrite(group, retained)
        self.log.note_compaction(CompactionPoint(end, gaps_before))
        self.outcome.end = end

    def _note_keys(self, latest: LatestOffsets) -> Generator[bool, None, int]:
        """Where the map ends: before the first batch that it has no room for."""
        first, end = self.due.first_dirty, self.due.end
        segments = [segment for segment in self.log.segments[:-1] if first < segment.next_offset <= end]
        transactions = ReadTransactions(self._aborted(segments))
        for segment in segments:
            for header, batch in _batches(segment):
                if header.is_control:
                    transactions.end(header)
                elif not transactions.is_aborted(header) and header.next_offset > first:
                    if not latest.has_room(header.record_count):
                        return header.base_offset
                    for _ in noted(header, batch, latest, from_offset=first):
                        yield WORKED
                yield WORKED
        return end

    def _aborted(self, segments: Sequence[Segment]) -> list[AbortedTransaction]:
        if not segments:
            return []
        return self.log.aborted_between(segments[0].base_offset, segments[-1].next_offset)

    def _rewrite(self, group: Sequence[Segment], retained: Retained) -> Work:
        """Write the batches that stay into one segment, and put it in the place of the group."""
        path = cleaned_path(self.log.folder, group[0].base_offset)
        draft = Segment(path, group[0].base_offset, self.log.settings)
        changed = len(group) > 1
        path.unlink(missing_ok=True)
        fd = open_for_append(path)
        try:
            for segment in group:
                for header, batch in _batches(segment):
                    steps = retained.of(header, batch)
                    while True:
                        try:
                            next(steps)
                        except StopIteration as done:
                            stays = done.value
                            break
                        yield WORKED
                    if stays.batch is not None:
                        self.durability.will_write(len(stays.batch))
                        draft.write(fd, read_header(stays.batch), stays.batch)
                        if stays.aborted is not None:
                            draft.index.note_aborted(stays.aborted)
                    changed |= stays.batch is None or len(stays.batch) != len(batch) or stays.batch != batch
                    yield WORKED
            if changed:
                yield from self._swap(group, draft)
        finally:
            os.close(fd)
            path.unlink(missing_ok=True)

    def _swap(self, group: Sequence[Segment], draft: Segment) -> Work:
        synced: list[bool] = []
        self.durability.sync_later(draft.path, lambda: synced.append(True))
        while not synced:
            yield WAITS
        self.outcome.bytes_before += sum(segment.size_bytes for segment in group)
        self.outcome.bytes_after += draft.size_bytes
        doomed = self.log.replace(group, draft)
        if doomed is None:
            raise LogChanged
        self.outcome.doomed += doomed


def _batches(segment: Segment) -> Iterator[tuple[BatchHeader, bytes]]:
    """By a descriptor of its own: the segment's may be closed between two steps."""
    fd = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for header, _, batch in verified_batches(
            fd, start=0, end=segment.size_bytes, next_offset=segment.base_offset, gaps=True
        ):
            yield header, bytes(batch)
    finally:
        os.close(fd)


def _groups(segments: Sequence[Segment], segment_bytes: int) -> Iterator[list[Segment]]:
    """Neighbours that fit into one segment, as they are before the work."""
    group: list[Segment] = []
    for segment in segments:
        if group and sum(each.size_bytes for each in group) + segment.size_bytes > segment_bytes:
            yield group
            group = []
        group.append(segment)
    if group:
        yield group
