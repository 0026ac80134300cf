"""The cleaner's choice and pace, and what it does about a log that it cannot compact."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.batches import Record, hand_made
from tests.unit.broker.in_process import opened

from tallystick.broker.fsync_policy import FsyncPolicy
from tallystick.broker.log.compaction.choice import Due
from tallystick.broker.log.compaction.work import Compaction
from tallystick.broker.log.settings import LogSettings
from tallystick.broker.log_cleaner import REST_MS, WAIT_MS, LogCleaner
from tallystick.broker.node import Node
from tallystick.broker.partition import Partition

COMPACT = {"cleanup.policy": "compact", "internal.segment.bytes": "200", "min.cleanable.dirty.ratio": "0"}
BACKOFF_MS = LogSettings().log_cleaner_backoff_ms


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with opened(tmp_path, fsync=FsyncPolicy.COMMIT) as node:
        yield node


def filled(node: Node, name: str, *, batches: int = 12) -> Partition:
    (partition,) = node.partitions.create(name, partition_count=1, configs=COMPACT).partitions
    for number in range(batches):
        partition.append(hand_made([Record(key=b"k", value=b"%d" % number)]), verify=lambda *_: 0)
    node.durability.sync_all_now()
    return partition


def soon() -> float:
    return time.monotonic() + 60


def test_a_log_is_compacted_in_slices_and_its_old_files_go(node: Node) -> None:
    partition = filled(node, "t")
    cleaner = node.cleaner()
    before = partition.log.end_offset
    rests = [cleaner.slice(ends_at=0.0)]
    while rests[-1] != BACKOFF_MS:
        node.durability.sync_all_now()
        rests.append(cleaner.slice(ends_at=0.0))  # one step each
    assert set(rests) == {REST_MS, WAIT_MS, BACKOFF_MS}
    assert len(rests) > 20
    assert partition.log.end_offset == before
    assert sum(segment.size_bytes for segment in partition.log.segments) < 300
    assert list(partition.log.folder.glob("*.deleted"))


def test_a_topic_that_is_deleted_meanwhile_ends_the_work(node: Node) -> None:
    partition = filled(node, "t")
    cleaner = node.cleaner()
    cleaner.slice(ends_at=0.0)
    topic = node.partitions.by_name("t")
    assert topic is not None
    node.partitions.delete(topic)
    assert partition.deleted
    assert cleaner.slice(ends_at=soon()) == REST_MS
    assert cleaner.slice(ends_at=soon()) == BACKOFF_MS


def test_segments_that_retention_takes_meanwhile_end_the_pass(node: Node) -> None:
    partition = filled(node, "t")
    cleaner = node.cleaner()
    assert cleaner.slice(ends_at=soon()) == WAIT_MS
    node.partitions.configure("t", {"cleanup.policy": "compact,delete", "retention.bytes": "0"})
    partition.drop_old_segments(node.clock.now_ms())
    node.durability.sync_all_now()
    assert cleaner.slice(ends_at=soon()) == REST_MS
    assert partition.log.start_offset == partition.log.end_offset
    assert not list(partition.log.folder.glob("*.cleaned"))


def test_a_log_that_cannot_be_read_is_left_alone_and_the_others_are_compacted(node: Node) -> None:
    damaged, sound = filled(node, "damaged"), filled(node, "sound", batches=6)
    with damaged.log.segments[0].path.open("r+b") as file:
        file.seek(70)
        file.write(b"\xff")
    cleaner = node.cleaner()
    rest = 0
    while rest != BACKOFF_MS:
        rest = cleaner.slice(ends_at=soon())
        node.durability.sync_all_now()
    assert damaged.log.compaction.cleaned_offset == 0
    assert sound.log.compaction.cleaned_offset > 0


def test_the_dirtiest_comes_first(node: Node) -> None:
    begun: list[str] = []

    class Dirty(Partition):
        def __init__(self, name: str, ratio: float) -> None:
            self.topic, self.ratio = name, ratio

        def compaction_due(self, now_ms: int) -> Due | None:
            return Due(0, 1, self.ratio) if self.topic not in begun else None

        def compaction(self, due: Due, *, now_ms: int, buffer_bytes: int) -> Compaction:
            begun.append(self.topic)
            raise OSError(28, "full")

    dirty = [Dirty("some", 0.6), Dirty("most", 0.9), Dirty("little", 0.5)]
    cleaner = LogCleaner(LogSettings(), node.clock, lambda: dirty, lambda *_: None)
    for _ in dirty:
        with pytest.raises(OSError, match="full"):
            cleaner.slice(ends_at=soon())
    assert begun == ["most", "some", "little"]
