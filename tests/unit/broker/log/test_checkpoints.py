"""What a start would read stays below its bounds, over all logs together."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.unit.broker.in_process import opened

from tallystick.broker.log.checkpoints import PAUSE_TICKS, Checkpoints
from tallystick.broker.node import Node
from tallystick.wire.records import BatchSpec, encode_batch


class Log:
    """Counts as a partition's log does."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.unsaved_batches = self.unsaved_bytes = self.made = 0
        self.is_full = False
        self._checkpoints = checkpoints

    def append(self, size_bytes: int) -> None:
        self.unsaved_batches += 1
        self.unsaved_bytes += size_bytes
        self._checkpoints.appended(self, size_bytes)

    def checkpoint(self) -> None:
        if self.is_full:
            raise OSError(28, "No space left on device")
        self.made += 1
        self._checkpoints.saved(self)
        self.unsaved_batches = self.unsaved_bytes = 0


def test_the_largest_are_saved_until_half_of_the_bound_is_left() -> None:
    checkpoints = Checkpoints(max_bytes=100, max_batches=1_000)
    small, middle, large = (Log(checkpoints) for _ in range(3))
    small.append(10)
    middle.append(35)
    large.append(55)
    checkpoints.tick()
    assert (small.made, middle.made, large.made) == (0, 0, 0)
    small.append(1)
    checkpoints.tick()
    assert (small.made, middle.made, large.made) == (0, 0, 1)


def test_many_small_batches_count_as_well() -> None:
    checkpoints = Checkpoints(max_bytes=1_000_000, max_batches=10)
    logs = [Log(checkpoints) for _ in range(11)]
    for log in logs:
        log.append(1)
    checkpoints.tick()
    assert sum(log.made for log in logs) == 6


def test_a_full_disk_is_not_tried_again_at_every_tick() -> None:
    checkpoints = Checkpoints(max_bytes=1, max_batches=1_000)
    log = Log(checkpoints)
    log.is_full = True
    log.append(2)
    checkpoints.tick()
    log.is_full = False
    for _ in range(PAUSE_TICKS):
        checkpoints.tick()
        assert log.made == 0
    checkpoints.tick()
    assert log.made == 1


def fill(node: Node, batches: int) -> None:
    for number in range(batches):
        partition = node.partitions.partition("t", number % 2)
        assert partition is not None
        partition.append(encode_batch([(None, b"x")], BatchSpec()), verify=lambda *_: 0)


@pytest.mark.parametrize(("batches", "replayed"), [(8, 8), (12, 2)])
def test_a_node_that_is_killed_starts_from_its_last_checkpoints(tmp_path: Path, batches: int, replayed: int) -> None:
    with opened(tmp_path) as node:
        node.partitions.create("t")
        node.partitions._folders.checkpoints._max_batches = 9
        for _ in range(batches // 2):
            fill(node, 2)
            node.tick()
        copy = tmp_path / "killed"
        shutil.copytree(tmp_path, copy, ignore=shutil.ignore_patterns("killed"))
    with opened(copy) as killed:
        partitions = [killed.partitions.partition("t", index) for index in (0, 1)]
        logs = [partition.log for partition in partitions if partition is not None]
        assert sum(log.end_offset for log in logs) == batches
        assert sum(log.recovered.replayed_batches for log in logs) == replayed
