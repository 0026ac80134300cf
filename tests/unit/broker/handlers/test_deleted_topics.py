"""A topic that is deleted and made again starts without the offsets of the one before."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from tests.unit.broker.in_process import ask, opened

from tallystick.broker.groups.records import CommittedOffset
from tallystick.broker.groups.requests.offsets import Committer
from tallystick.wire.errors import ErrorCode


def test_committed_offsets_go_with_their_topic(tmp_path: Path) -> None:
    with opened(tmp_path / "data") as node:
        for name in ("a", "b"):
            node.partitions.create(name, partition_count=1, configs={})
            rows = [CommittedOffset(topic=name, partition=0, offset=5)]
            assert node.groups.offsets.commit("g", Committer(), rows) == {(name, 0): ErrorCode.none}
        ask(node, "delete_topics", 5, topic_names=("a",), timeout=timedelta(seconds=5))
        node.partitions.create("a", partition_count=1, configs={})
        fetched = node.groups.offsets.fetch("g", [("a", 0), ("b", 0)], require_stable=True)
        assert [row.offset for row in fetched] == [-1, 5]
