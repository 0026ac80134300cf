"""A partition of a compacted topic for tests: written to, compacted, read, opened again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.batches import Record, hand_made

from tallystick.broker.fsync_policy import FsyncPolicy
from tallystick.broker.log.aborted import AbortedTransaction
from tallystick.broker.log.boots import Boots
from tallystick.broker.log.compaction.work import WAITS
from tallystick.broker.log.durability import Durability
from tallystick.broker.partition import Partition
from tallystick.broker.topic_configs import TopicConfig
from tallystick.clock import ManualClock
from tallystick.wire.batch import BatchHeader
from tallystick.wire.records import WireRecord, decode_batch, iterate_batches, read_marker

START_MS = 1_000_000_000
RETENTION_MS = 1_000
CONFIG = TopicConfig(
    cleanup_policy=("compact",),
    internal_segment_bytes=400,
    min_cleanable_dirty_ratio=0.0,
    delete_retention_ms=RETENTION_MS,
)
Pair = tuple[bytes, bytes | None]


@dataclass
class CompactedLog:
    """``sequences`` are those of each producer id."""

    partition: Partition
    durability: Durability
    clock: ManualClock
    sequences: dict[int, int] = field(default_factory=dict)

    def send(self, *pairs: Pair, producer_id: int = -1, transactional: bool = False, codec: str = "none") -> int:
        batch = hand_made(
            [Record(key=key, value=value) for key, value in pairs],
            compression=codec,
            body=None,
            base_timestamp_ms=self.clock.now_ms(),
            **self._producer(producer_id, len(pairs), transactional=transactional, codec=codec),
        )
        appended = self.partition.append(batch, verify=lambda *_: 0)
        self.durability.sync_all_now()
        return appended.base_offset

    def _producer(self, producer_id: int, count: int, *, transactional: bool, codec: str) -> dict[str, int]:
        if producer_id < 0:
            return {}
        sequence = self.sequences.get(producer_id, 0)
        self.sequences[producer_id] = sequence + count
        attributes = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}[codec] | (0x10 if transactional else 0)
        fields = {"producer_id": producer_id, "producer_epoch": 0, "base_sequence": sequence}
        return fields | {"attributes": attributes}

    def end(self, producer_id: int, *, commit: bool) -> None:
        self.partition.append_marker(
            producer_id=producer_id,
            producer_epoch=0,
            commit=commit,
            coordinator_epoch=0,
            now_ms=self.clock.now_ms(),
        )
        self.durability.sync_all_now()

    def roll(self) -> None:
        """Close the segment that is written to, so that all there is may be compacted."""
        if self.partition.log.segments[-1].size_bytes:
            self.partition.log.roll()

    def compact(self, *, buffer_bytes: int = 1 << 20) -> list[Path] | None:
        """One pass; the files that are out of the log. None if nothing was due."""
        due = self.partition.compaction_due(self.clock.now_ms())
        if due is None:
            return None
        compaction = self.partition.compaction(due, now_ms=self.clock.now_ms(), buffer_bytes=buffer_bytes)
        for step in compaction.run():
            if step is WAITS:
                self.durability.sync_all_now()
        return compaction.outcome.doomed

    def batches(self) -> list[tuple[BatchHeader, bytes]]:
        found, offset, log = [], self.partition.log.start_offset, self.partition.log
        while offset < log.end_offset:
            part = log.read(offset, max_bytes=1_000, limit_offset=log.end_offset)
            if not part.data:
                break
            found += list(iterate_batches(part.data))
            assert part.next_offset > offset
            offset = part.next_offset
        return found

    def records(self) -> list[WireRecord]:
        return [
            record for header, batch in self.batches() if not header.is_control for record in decode_batch(batch)[1]
        ]

    def pairs(self) -> list[Pair]:
        return [(record.key or b"", record.value) for record in self.records()]

    def committed(self) -> list[WireRecord]:
        """As a read_committed consumer that starts at the beginning sees it, by the aborted list of each read."""
        log, limit = self.partition.log, self.partition.last_stable_offset
        found: list[WireRecord] = []
        offset = log.start_offset
        aborting: dict[int, AbortedTransaction] = {}
        while offset < limit:
            part = log.read(offset, max_bytes=300, limit_offset=limit)
            if not part.data:
                break
            rows = sorted(log.aborted_between(offset, part.next_offset), key=lambda row: row.first_offset)
            for header, batch in iterate_batches(part.data):
                while rows and rows[0].first_offset <= header.last_offset:
                    row = rows.pop(0)
                    aborting[row.producer_id] = row
                if header.is_control:
                    if header.record_count and not read_marker(batch).commit:
                        aborting.pop(header.producer_id, None)
                elif not (header.is_transactional and header.producer_id in aborting):
                    found += decode_batch(batch)[1]
            offset = part.next_offset
        assert all(row.last_offset >= limit for row in aborting.values()), "a producer would be left out for ever"
        return found


@contextmanager
def compacted_log(
    folder: Path, *, config: TopicConfig = CONFIG, clock: ManualClock | None = None, boots: Boots | None = None
) -> Iterator[CompactedLog]:
    durability = Durability(FsyncPolicy.COMMIT)
    clock = clock or ManualClock(start_ms=START_MS)
    partition = Partition("t", 0, folder, durability, config=config, clock=clock, boots=boots)
    try:
        yield CompactedLog(partition, durability, clock)
        durability.sync_all_now()
    finally:
        partition.close(deleted=False)
