"""One partition over segments and restarts: aborted transactions, snapshots, damage that is met while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tallystick.broker.fsync_policy import FsyncPolicy
from tallystick.broker.log.durability import Durability
from tallystick.broker.log.settings import LogSettings
from tallystick.broker.partition import Partition
from tallystick.wire.errors import ApiError, ErrorCode
from tallystick.wire.records import BatchSpec, encode_batch


@contextmanager
def opened(folder: Path, *, segment_bytes: int = 1_000_000) -> Iterator[Partition]:
    settings = LogSettings(log_segment_bytes=segment_bytes)
    partition = Partition("t", 0, folder, Durability(FsyncPolicy.NEVER), settings=settings)
    try:
        yield partition
    finally:
        partition.close(deleted=False)


def send(partition: Partition, producer_id: int, sequence: int, count: int = 1) -> None:
    spec = BatchSpec(producer_id=producer_id, producer_epoch=0, base_sequence=sequence, transactional=True)
    partition.append(encode_batch([(None, b"x")] * count, spec), verify=lambda *_: 0)


def mark(partition: Partition, producer_id: int, *, commit: bool) -> None:
    assert partition.append_marker(
        producer_id=producer_id, producer_epoch=0, commit=commit, coordinator_epoch=0, now_ms=0
    )


def aborted(partition: Partition, start: int, end: int) -> list[tuple[int, int]]:
    return [(row.producer_id, row.first_offset) for row in partition.log.aborted_between(start, end)]


@pytest.mark.parametrize("segment_bytes", [100, 200, 1_000_000], ids=["a segment each", "few", "one segment"])
@pytest.mark.parametrize("checkpoints", [True, False], ids=["checkpoints", "none"])
def test_the_aborted_list_is_for_exactly_the_range_read(tmp_path: Path, segment_bytes: int, checkpoints: bool) -> None:
    with opened(tmp_path, segment_bytes=segment_bytes) as partition:
        send(partition, 1, 0, 2)  # 0 and 1
        send(partition, 2, 0, 2)  # 2 and 3
        mark(partition, 1, commit=False)  # 4
        if checkpoints:
            partition.checkpoint()
        mark(partition, 2, commit=True)  # 5
        send(partition, 1, 2, 2)  # 6 and 7
        mark(partition, 1, commit=False)  # 8
    for _ in range(2):
        with opened(tmp_path, segment_bytes=segment_bytes) as partition:
            assert aborted(partition, 0, 9) == [(1, 0), (1, 6)]
            assert aborted(partition, 0, 6) == [(1, 0)]
            assert aborted(partition, 2, 4) == [(1, 0)]
            assert aborted(partition, 5, 6) == []
            assert aborted(partition, 5, 7) == [(1, 6)]
            assert aborted(partition, 9, 20) == []


def test_damage_that_is_met_while_the_broker_runs_is_an_error_of_that_partition(tmp_path: Path) -> None:
    with opened(tmp_path) as partition:
        for sequence in range(3):
            send(partition, 1, sequence)
        log = tmp_path / "00000000000000000000.log"
        raw = bytearray(log.read_bytes())
        raw[len(raw) // 3 + 16] = 1  # the magic of the second batch
        log.write_bytes(raw)
        with pytest.raises(ApiError) as found:
            partition.read(1, max_bytes=1, committed_only=False)
    assert found.value.code is ErrorCode.kafka_storage_error
    assert "byte 75" in found.value.message or "00000000000000000000.log" in found.value.message
