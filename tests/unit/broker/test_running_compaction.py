"""The coordinators' journal of a node that runs for ever stays bounded, and loses nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tallystick.broker.fsync_policy import FsyncPolicy
from tallystick.broker.groups.records import CommittedOffset
from tallystick.broker.groups.requests.offsets import Committer
from tallystick.broker.node import Node, open_node
from tallystick.broker.node_settings import NodeSettings
from tallystick.clock import ManualClock
from tallystick.wire.errors import ErrorCode


def opened(folder: Path) -> Node:
    node, _ = open_node(
        folder,
        fsync=FsyncPolicy.NEVER,
        settings=NodeSettings(num_partitions=1),
        clock=ManualClock(start_ms=1_000),
        host="127.0.0.1",
        port=0,
    )
    return node


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Callable[[], Node]]:
    """Opens the node of one folder, closing the one before."""
    running: list[Node] = []

    def reopen() -> Node:
        while running:
            running.pop().close()
        running.append(opened(tmp_path / "data"))
        return running[0]

    reopen().partitions.create("a", partition_count=2, configs={})
    yield reopen
    while running:
        running.pop().close()


def work(node: Node, transactions: int) -> tuple[int, int]:
    """So many transactions with offsets, and one left open."""
    owner = node.transactions.init_producer_id("t", timeout_ms=60_000)
    named = (owner.producer_id, owner.producer_epoch)
    for offset in range(transactions + 1):
        assert node.transactions.add_partitions("t", *named, [("a", 0), ("a", 1)]) is ErrorCode.none
        assert node.transactions.add_group("t", *named, "g") is ErrorCode.none
        node.groups.offsets.commit_in_transaction(
            "g",
            Committer(),
            [CommittedOffset(topic="a", partition=0, offset=offset)],
            producer_id=owner.producer_id,
            producer_epoch=owner.producer_epoch,
        )
        if offset < transactions:
            assert node.transactions.end("t", *named, commit=True).error is ErrorCode.none
        node.tick()
    return named


def test_a_running_nodes_journal_stays_small_and_a_recovery_finds_the_same(
    nodes: Callable[[], Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tallystick.broker.node.COMPACT_RUNNING_ABOVE_BYTES", 4_000)
    node = nodes()
    node.compact_above_bytes = 4_000
    work(node, 20)
    assert node.journal.size_bytes < 8_000
    states, offsets = node.transactions.transactions(), node.groups.offsets.fetch("g", None, require_stable=False)
    again = nodes()
    assert again.transactions.transactions() == states
    assert again.groups.offsets.fetch("g", None, require_stable=False) == offsets
    (row,) = again.groups.offsets.fetch("g", [("a", 0)], require_stable=True)
    assert row.error is ErrorCode.unstable_offset_commit


def test_a_snapshot_that_is_large_itself_is_not_written_at_every_tick(
    nodes: Callable[[], Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tallystick.broker.node.COMPACT_RUNNING_ABOVE_BYTES", 10)
    node = nodes()
    node.compact_above_bytes = 10
    work(node, 0)
    records = node.journal.record_count
    node.transactions.init_producer_id("u", timeout_ms=60_000)
    node.tick()
    assert node.journal.record_count == records + 1
