"""The node as a whole over restarts: the coordinators' journal is replayed, and compacted without loss."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.broker.in_process import ask, opened

from tallystick.broker import node as node_module
from tallystick.broker.node import Node
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode


def committed(node: Node) -> int:
    build = schema.request("offset_fetch", 7)
    wanted = (build.OffsetFetchRequestTopic(name="t", partition_indexes=(0,)),)
    (topic,) = ask(node, "offset_fetch", 7, group_id="g", topics=wanted, require_stable=True).topics
    assert topic.partitions[0].error_code == ErrorCode.none
    return int(topic.partitions[0].committed_offset)


def commit(node: Node, offset: int) -> None:
    build = schema.request("offset_commit", 8)
    row = build.OffsetCommitRequestPartition(
        partition_index=0, committed_offset=offset, committed_leader_epoch=-1, committed_metadata=""
    )
    (topic,) = ask(
        node,
        "offset_commit",
        8,
        group_id="g",
        generation_id_or_member_epoch=-1,
        member_id="",
        group_instance_id=None,
        topics=(build.OffsetCommitRequestTopic(name="t", partitions=(row,)),),
    ).topics
    assert topic.partitions[0].error_code == ErrorCode.none


def new_epoch(node: Node) -> tuple[int, int]:
    answer = ask(
        node,
        "init_producer_id",
        4,
        transactional_id="x",
        transaction_timeout=timedelta(seconds=30),
        producer_id=-1,
        producer_epoch=-1,
    )
    assert answer.error_code == ErrorCode.none
    return int(answer.producer_id), int(answer.producer_epoch)


@pytest.mark.parametrize("compact_above_bytes", [0, 10**9], ids=["compacted", "as written"])
def test_transactions_and_offsets_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compact_above_bytes: int
) -> None:
    monkeypatch.setattr(node_module, "COMPACT_ABOVE_BYTES", compact_above_bytes)
    with opened(tmp_path) as node:
        node.partitions.create("t")
        producer_id, _ = new_epoch(node)
        for offset in range(50):
            commit(node, offset)
        size = node.journal.size_bytes
        known = node.transactions.transactions()
    for epoch in (1, 2, 3):
        with opened(tmp_path) as node:
            if epoch == 1:
                assert node.transactions.transactions() == known
                assert (node.journal.size_bytes < size) == (compact_above_bytes == 0)
            assert committed(node) == 49
            assert new_epoch(node) == (producer_id, epoch)
