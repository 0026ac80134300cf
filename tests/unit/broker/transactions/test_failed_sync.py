"""A decision that does not reach the disk writes no marker and is answered to nobody: the broker stops.

A second fsync may report as written what the first one lost (the kernel marks the pages clean, as PostgreSQL found in
2018), so that a retriable error would let the retry commit what power loss takes back.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.wire import WireClient
from tests.support.wire_producer import WireProducer
from tests.unit.broker.in_process import opened

from tallystick.broker.fsync_policy import FsyncPolicy
from tallystick.broker.instance import BrokerInstance
from tallystick.broker.log.durability import SyncFailed
from tallystick.broker.node import Node
from tallystick.broker.options import BrokerOptions
from tallystick.clock import ManualClock

TIMEOUT_MS = 60_000


def fail(_fd: int) -> None:
    raise OSError(errno.EIO, "input/output error")


@pytest.fixture(params=[FsyncPolicy.COMMIT, FsyncPolicy.INTERVAL])
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Node]:
    """With an open transaction in one partition."""
    with opened(tmp_path, fsync=request.param, clock=ManualClock(start_ms=1_000)) as node:
        node.partitions.create("a", partition_count=1)
        owner = node.transactions.init_producer_id("t", timeout_ms=TIMEOUT_MS)
        adding = node.transactions.add_partitions("t", owner.producer_id, owner.producer_epoch, [("a", 0)])
        assert adding.name == "none"
        yield node


def commit(node: Node, version: int) -> None:
    (state,) = node.transactions.transactions()
    node.transactions.end("t", state.producer_id, 0, commit=True, transaction_version=version)


def time_out(node: Node) -> None:
    node.transactions.tick(node.clock.now_ms() + TIMEOUT_MS)


WAYS: dict[str, Callable[[Node], object]] = {
    "version 1": lambda node: commit(node, 1),
    "version 2": lambda node: commit(node, 2),
    "successor": lambda node: node.transactions.init_producer_id("t", timeout_ms=TIMEOUT_MS),
    "timeout": time_out,
}


@pytest.mark.parametrize("way", WAYS)
def test_whatever_ends_a_transaction_ends_with_the_broker_instead(
    node: Node, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    partition = node.partitions.partition("a", 0)
    assert partition is not None
    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", fail)
        with pytest.raises(SyncFailed):
            WAYS[way](node)
    assert partition.high_watermark == 0
    assert partition.log.end_offset == 0, "no marker without its decision on disk"
    with pytest.raises(SyncFailed):  # the disk says that it is well again, and is not believed
        WAYS[way](node)
    assert partition.log.end_offset == 0


def test_the_client_gets_no_answer_and_the_broker_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def talk(bootstrap: str) -> None:
        with WireClient(bootstrap) as client:
            producer = WireProducer(client, "t")
            assert producer.init() == "none"
            assert producer.produce("a")[0] == "none"
            monkeypatch.setattr(os, "fdatasync", fail)
            with pytest.raises(AssertionError, match="closed the connection"):
                producer.end(commit=True)

    async def run() -> None:
        options = BrokerOptions(host="127.0.0.1", port=0, data=tmp_path, fsync=FsyncPolicy.INTERVAL)
        instance = await BrokerInstance.start(options)
        try:
            instance.node.partitions.create("a", partition_count=1)
            await asyncio.to_thread(talk, f"127.0.0.1:{instance.port}")
            with pytest.RaisesGroup(SyncFailed):
                await asyncio.wait_for(instance.failed(), 10)
        finally:
            monkeypatch.undo()
            await instance.stop()

    asyncio.run(run())
