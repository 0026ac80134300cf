"""Old segments leave a partition: when, in what order, and wherever the broker is killed meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.batches import Record, hand_made
from tests.support.disk_trace import traced
from tests.support.every_moment import EveryMoment

from tallystick.broker.fsync_policy import FsyncPolicy
from tallystick.broker.log.boots import Boots
from tallystick.broker.log.durability import Durability
from tallystick.broker.log.settings import LogSettings
from tallystick.broker.log.start_offset import FILE, read_start_offset
from tallystick.broker.partition import Partition
from tallystick.broker.retention import PARTITIONS_PER_TICK, LogRetention
from tallystick.broker.topic_configs import TopicConfig
from tallystick.clock import ManualClock
from tallystick.errors import CorruptData
from tallystick.wire.errors import ApiError, ErrorCode
from tallystick.wire.records import decode_batch, iterate_batches

NOW_MS = 1_000_000
KEEP_NOTHING = TopicConfig(retention_ms=0, internal_segment_bytes=200)
SMALL = TopicConfig(retention_ms=-1, internal_segment_bytes=200)


@contextmanager
def opened(folder: Path, *, config: TopicConfig = SMALL, boots: Boots | None = None) -> Iterator[Partition]:
    durability = Durability(FsyncPolicy.COMMIT)
    clock = ManualClock(start_ms=NOW_MS)
    partition = Partition("t", 0, folder, durability, config=config, boots=boots, clock=clock)
    try:
        yield partition
        durability.sync_all_now()
    finally:
        partition.close(deleted=False)


def send(partition: Partition, count: int, *, first: int = 0, timestamp_ms: int = 5) -> None:
    for sequence in range(first, first + count):
        batch = hand_made(
            [Record(value=b"%d" % sequence)],
            base_timestamp_ms=timestamp_ms,
            producer_id=7,
            producer_epoch=0,
            base_sequence=sequence,
        )
        partition.append(batch, verify=lambda *_: 0)
    partition.log._durability.sync_all_now()


def values(partition: Partition) -> list[bytes | None]:
    found, offset = [], partition.log.start_offset
    while offset < partition.high_watermark:
        part = partition.read(offset, max_bytes=1_000_000, committed_only=False)
        for _, batch in iterate_batches(part.data):
            found += [record.value for record in decode_batch(batch)[1] if record.offset >= partition.log.start_offset]
        offset = part.next_offset
    return found


def numbers(*span: int) -> list[bytes]:
    return [b"%d" % number for number in range(*span)]


def test_everything_goes_and_producers_and_offsets_go_on(tmp_path: Path) -> None:
    with opened(tmp_path, config=KEEP_NOTHING) as partition:
        send(partition, 5)
        doomed = partition.drop_old_segments(NOW_MS)
        assert len(doomed) == 3
        assert all(path.exists() for path in doomed)
        assert (partition.log.start_offset, partition.log.end_offset) == (5, 5)
    for _ in range(2):
        with opened(tmp_path) as partition:
            assert (partition.log.start_offset, partition.log.end_offset) == (5, 5)
            assert partition.producers.producers[7].last_sequence == 4
            assert not any(path.exists() for path in doomed)
    with opened(tmp_path) as partition:
        send(partition, 1, first=5)
        assert values(partition) == [b"5"]


def test_a_reader_in_the_middle_of_what_goes_is_told(tmp_path: Path) -> None:
    with opened(tmp_path, config=KEEP_NOTHING) as partition:
        send(partition, 5)
        found = partition.read(0, max_bytes=1, committed_only=False)
        partition.drop_old_segments(NOW_MS)
        with pytest.raises(ApiError) as refused:
            partition.read(found.next_offset, max_bytes=1, committed_only=False)
        assert refused.value.code is ErrorCode.offset_out_of_range
        assert partition.read(5, max_bytes=1, committed_only=False).data == b""


def test_an_open_transaction_does_not_hold_retention_back_nor_readers_below_the_start(tmp_path: Path) -> None:
    with opened(tmp_path, config=KEEP_NOTHING) as partition:
        batch = hand_made(attributes=0x10, base_timestamp_ms=5, producer_id=9, producer_epoch=0, base_sequence=0)
        partition.append(batch, verify=lambda *_: 0)
        send(partition, 5)
        assert partition.last_stable_offset == 0
        partition.drop_old_segments(NOW_MS)
        assert partition.last_stable_offset == partition.log.start_offset == 6


def test_a_look_up_by_time_does_not_find_what_was_deleted(tmp_path: Path) -> None:
    with opened(tmp_path) as partition:
        partition.append(hand_made([Record()] * 4, base_timestamp_ms=5), verify=lambda *_: 0)
        partition.log._durability.sync_all_now()
        partition.delete_records(2)
        assert partition.first_at_or_after(5, limit_offset=4).offset == 2


@pytest.mark.parametrize("deleted", [None, 3, 6], ids=["by age", "within a segment", "at a segment"])
@pytest.mark.parametrize("kept", [0, 3], ids=["all go", "some stay"])
def test_the_log_begins_before_or_after_wherever_it_is_killed(tmp_path: Path, deleted: int | None, kept: int) -> None:
    folder = tmp_path / "log"
    ways = EveryMoment(folder, tmp_path / "copies", power_losses=4)
    total = 7 + kept
    with traced(folder, ways.on_change, ways.power.on_created), opened(folder) as partition:
        send(partition, 7)
        send(partition, kept, first=7, timestamp_ms=NOW_MS)
        if deleted is not None:
            ways.listening = True
            partition.delete_records(deleted)
            ways.listening = False
        before = 0
        partition.configure(TopicConfig(retention_ms=1_000, internal_segment_bytes=200))
        ways.listening = True
        partition.drop_old_segments(NOW_MS)
        ways.copy("at the end")
        ways.listening = False
        after = partition.log.start_offset
        producers = partition.producers.entries()
    assert len(ways.made) > 30
    allowed = {before, deleted or 0, after}
    for copy, boots, during in ways.made:
        with opened(copy, boots=boots) as partition:
            start = partition.log.start_offset
            assert start in allowed, during
            assert partition.log.end_offset == total, during
            assert values(partition) == numbers(start, total), during
            assert partition.producers.entries() == producers, during
            send(partition, 1, first=total)
            assert values(partition) == numbers(start, total + 1), during


def test_segments_are_kept_that_a_start_would_need_for_the_producers(tmp_path: Path) -> None:
    with opened(tmp_path) as partition:
        send(partition, 6)
        first, second, *_ = [segment.base_offset for segment in partition.log.segments]
        partition.log._snapshots.remove(second)
        partition.configure(KEEP_NOTHING)
        partition.delete_records(second)
    for snapshot in tmp_path.glob("*.snapshot"):
        snapshot.unlink()
    with opened(tmp_path) as partition:
        assert partition.log.segments[0].base_offset == first
        assert partition.log.start_offset == second
        assert partition.producers.producers[7].last_sequence == 5


def test_a_damaged_start_offset_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as partition:
        send(partition, 3)
        partition.delete_records(1)
    assert read_start_offset(tmp_path) == 1
    (tmp_path / FILE).write_bytes(b"\0" * 20)
    with pytest.raises(CorruptData, match="start offset"), opened(tmp_path):
        pass


def test_a_full_disk_leaves_the_log_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with opened(tmp_path) as partition:
        send(partition, 5)
        partition.configure(TopicConfig(retention_bytes=200, internal_segment_bytes=200))
        with monkeypatch.context() as patch:
            patch.setattr("tallystick.broker.log.sealed_file.replace_file", full)
            assert partition.drop_old_segments(NOW_MS) == []
            with pytest.raises(ApiError) as refused:
                partition.delete_records(2)
            assert refused.value.code is ErrorCode.kafka_storage_error
        assert values(partition) == numbers(5)
        assert len(partition.drop_old_segments(NOW_MS)) == 1


class Looked:
    """A partition that counts the looks."""

    deleted = False
    file_delete_delay_ms = 1_000

    def __init__(self, *doomed: Path) -> None:
        self.doomed = list(doomed)
        self.looks = 0

    def drop_old_segments(self, now_ms: int) -> Sequence[Path]:
        self.looks += 1
        doomed, self.doomed = self.doomed, []
        return doomed


def test_every_partition_is_looked_at_once_an_interval_a_few_at_a_time() -> None:
    partitions = [Looked() for _ in range(PARTITIONS_PER_TICK + 1)]
    partitions[0].deleted = True
    retention = LogRetention(LogSettings(log_retention_check_interval_ms=100))

    def tick(monotonic_ms: int) -> int:
        retention.tick(lambda: partitions, now_ms=NOW_MS, monotonic_ms=monotonic_ms)
        return sum(partition.looks for partition in partitions)

    assert [tick(at) for at in (0, 99, 100, 101, 102)] == [0, 0, PARTITIONS_PER_TICK - 1, *[PARTITIONS_PER_TICK] * 2]
    assert tick(200) == 2 * PARTITIONS_PER_TICK - 1


def test_a_file_stays_on_the_disk_for_its_delay(tmp_path: Path) -> None:
    doomed = tmp_path / "old.log.deleted"
    doomed.touch()
    partitions = [Looked(doomed, tmp_path / "gone already")]
    retention = LogRetention(LogSettings(log_retention_check_interval_ms=100))
    for monotonic_ms, exists in ((0, True), (100, True), (1_099, True), (1_100, False)):
        retention.tick(lambda: partitions, now_ms=NOW_MS, monotonic_ms=monotonic_ms)
        assert doomed.exists() == exists
