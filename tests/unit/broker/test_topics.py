"""Topics and partitions over restarts of the node, without sockets."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.broker.in_process import opened

from tallystick.broker.fsync_policy import FsyncPolicy
from tallystick.broker.log.settings import LogSettings
from tallystick.broker.node import Node
from tallystick.broker.partition import Partition
from tallystick.broker.transactions.records import TransactionState, TransactionStatus
from tallystick.errors import CorruptData
from tallystick.wire.batch import HEADER_BYTES, BatchHeader, read_header
from tallystick.wire.errors import ApiError, ErrorCode
from tallystick.wire.records import BatchSpec, encode_batch, iterate_batches


def allowed(*_: int) -> int:
    return 0


def partition_of(node: Node, topic: str = "t", index: int = 0) -> Partition:
    found = node.partitions.partition(topic, index)
    assert found is not None
    return found


def transactional(sequence: int, count: int = 1, *, epoch: int = 0) -> bytes:
    spec = BatchSpec(producer_id=5, producer_epoch=epoch, base_sequence=sequence, transactional=True)
    return encode_batch([(None, b"v")] * count, spec)


def mark(node: Node, *, commit: bool, epoch: int = 0, topic: str = "t") -> None:
    node.partitions.append_marker(
        topic, 0, producer_id=5, producer_epoch=epoch, commit=commit, coordinator_epoch=0, now_ms=1
    )


def test_topics_come_back_with_their_ids_and_partitions(tmp_path: Path) -> None:
    with opened(tmp_path) as node:
        first = node.partitions.create("kept").topic_id
        gone = node.partitions.create("gone")
        node.partitions.grow("kept", partition_count=5)
        node.partitions.delete(gone)
        again = node.partitions.create("gone", partition_count=1).topic_id
        assert again != gone.topic_id
    with opened(tmp_path) as node:
        assert node.partitions.topic_id("kept") == first
        assert node.partitions.topic_id("gone") == again
        assert node.partitions.exists("kept", 4)
        assert not node.partitions.exists("kept", 5)
        assert not node.partitions.exists("gone", 1)
        assert len(list(node.folder.topics.iterdir())) == 2


def test_a_crash_between_deleting_a_topic_and_its_files_leaves_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as node:
        node.partitions.create("t")
        stray = node.folder.topics / "0123456789abcdef0123456789abcdef" / "0"
        stray.mkdir(parents=True)
    with opened(tmp_path) as node:
        assert len(list(node.folder.topics.iterdir())) == 1


@pytest.mark.parametrize("fsync", list(FsyncPolicy))
def test_producer_state_and_open_transactions_come_back(tmp_path: Path, fsync: FsyncPolicy) -> None:
    with opened(tmp_path, log_settings=LogSettings(log_segment_bytes=200), fsync=fsync) as node:
        partition = partition_of_new(node)
        node.journal.append(TransactionState("x", 5, 0, TransactionStatus.ONGOING, 60_000, partitions=(("t", 0),)))
        partition.append(encode_batch([(None, b"plain")], BatchSpec()), verify=allowed)
        partition.append(transactional(0, 2), verify=allowed)
        mark(node, commit=False)
        partition.append(transactional(2, 3), verify=allowed)
        live = partition.producers
    with opened(tmp_path, log_settings=LogSettings(log_segment_bytes=200), fsync=fsync) as node:
        partition = partition_of(node)
        assert partition.producers == live
        assert (partition.last_stable_offset, partition.high_watermark) == (4, 7)
        (aborted,) = partition.log.aborted_between(0, 7)
        assert (aborted.producer_id, aborted.first_offset) == (5, 1)
        assert partition.append(transactional(2, 3), verify=allowed).duplicate
        with pytest.raises(ApiError) as gap:
            partition.append(transactional(9), verify=allowed)
        assert gap.value.code is ErrorCode.out_of_order_sequence_number


def partition_of_new(node: Node) -> Partition:
    node.partitions.create("t", partition_count=1)
    return partition_of(node)


def test_read_committed_stops_at_the_open_transaction(tmp_path: Path) -> None:
    with opened(tmp_path) as node:
        partition = partition_of_new(node)
        partition.append(encode_batch([(None, b"plain")], BatchSpec()), verify=allowed)
        partition.append(transactional(0), verify=allowed)

        def bases(*, committed_only: bool) -> list[int]:
            data = partition.read(0, max_bytes=10_000, committed_only=committed_only).data
            return [header.base_offset for header, _ in iterate_batches(data)]

        assert bases(committed_only=True) == [0]
        assert bases(committed_only=False) == [0, 1]
        mark(node, commit=True)
        assert bases(committed_only=True) == [0, 1, 2]


def test_a_marker_is_written_once_and_raises_the_epoch(tmp_path: Path) -> None:
    with opened(tmp_path) as node:
        partition = partition_of_new(node)
        partition.append(transactional(0), verify=allowed)
        mark(node, commit=True)
        end = partition.log.end_offset
        mark(node, commit=True)
        assert partition.log.end_offset == end
        mark(node, commit=False, epoch=1)
        assert partition.log.end_offset == end + 1
        mark(node, commit=False, epoch=0)
        assert partition.log.end_offset == end + 1
        with pytest.raises(ApiError) as fenced:
            partition.append(transactional(1, epoch=0), verify=allowed)
        assert fenced.value.code is ErrorCode.invalid_producer_epoch
        mark(node, commit=True, topic="gone")


def test_the_first_batch_of_a_transaction_is_verified_and_only_that(tmp_path: Path) -> None:
    asked: list[tuple[int, int]] = []

    def verify(producer_id: int, producer_epoch: int) -> int:
        asked.append((producer_id, producer_epoch))
        return int(ErrorCode.transaction_abortable) if len(asked) == 1 else 0

    with opened(tmp_path) as node:
        partition = partition_of_new(node)
        with pytest.raises(ApiError) as refused:
            partition.append(transactional(0), verify=verify)
        assert refused.value.code is ErrorCode.transaction_abortable
        assert partition.log.end_offset == 0
        partition.append(transactional(0), verify=verify)
        partition.append(transactional(1), verify=verify)
        assert asked == [(5, 0), (5, 0)]


def test_under_commit_nothing_is_visible_before_it_is_on_the_disk(tmp_path: Path) -> None:
    with opened(tmp_path, fsync=FsyncPolicy.COMMIT) as node:
        partition = partition_of_new(node)
        told: list[str] = []
        partition.listeners.add(lambda: told.append("more"))
        partition.append(encode_batch([(None, b"v")], BatchSpec()), verify=allowed)
        assert (partition.high_watermark, partition.log.end_offset) == (0, 1)
        assert partition.read(0, max_bytes=1_000, committed_only=False).data == b""
        assert told == []
        node.durability.sync_all_now()
        assert (partition.high_watermark, told) == (1, ["more"])


def test_under_commit_the_coordinators_decision_is_on_disk_before_the_marker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path, fsync=FsyncPolicy.COMMIT) as node:
        partition = partition_of_new(node)
        partition.append(transactional(0), verify=allowed)
        order: list[str] = []
        monkeypatch.setattr(node.journal, "sync_now", lambda: order.append("journal"))

        def append(header: BatchHeader, _: bytes) -> BatchHeader:
            order.append("marker")
            return header

        monkeypatch.setattr(partition.log, "append", append)
        mark(node, commit=True)
        assert order == ["journal", "marker"]


def test_a_damaged_marker_is_reported_at_start(tmp_path: Path) -> None:
    with opened(tmp_path) as node:
        partition = partition_of_new(node)
        batch = encode_batch([(b"", b"")], BatchSpec(producer_id=1, producer_epoch=0, transactional=True, control=True))
        assert len(batch) > HEADER_BYTES
        partition.log.append(read_header(batch), batch)
        index = partition.log.segments[-1].index.path
    index.unlink()
    with pytest.raises(CorruptData, match="t-0, offset 0"), opened(tmp_path):
        pass
