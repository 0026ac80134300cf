"""Compressed batches that become far more than was sent: each request pays once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.broker.in_process import ask, opened

from tallystick.broker.node import Node
from tallystick.broker.unpacking import Unpacking
from tallystick.wire import compression, schema
from tallystick.wire.batch import MAGIC, BatchHeader, MalformedBatch, write_batch
from tallystick.wire.compression import ZSTD, compress
from tallystick.wire.errors import ApiError, ErrorCode
from tallystick.wire.records import BatchSpec, check_framing, encode_batch

MIB = 1024 * 1024


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with opened(tmp_path) as node:
        node.partitions.create("t", partition_count=50)
        yield node


def produced(node: Node, batch: bytes) -> list[ErrorCode]:
    build = schema.request("produce", 9)
    rows = tuple(build.PartitionProduceData(index=index, records=batch) for index in range(50))
    data = (build.TopicProduceData(name="t", partition_data=rows),)
    answer = ask(node, "produce", 9, transactional_id=None, acks=-1, timeout=timedelta(0), topic_data=data)
    return [row.error_code for row in answer.responses[0].partition_responses]


def batch_of(body: bytes, count: int) -> bytes:
    return write_batch(BatchHeader(0, 0, -1, MAGIC, 0, ZSTD, count - 1, 5, 5, -1, -1, -1, count), compress(ZSTD, body))


def test_a_request_of_many_batches_that_become_huge_unpacks_one_of_them(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    grown = compression._grown

    def counted(into: object, body: bytes, max_bytes: int) -> bytes:
        sizes.append(max_bytes)
        return grown(into, body, max_bytes)  # type: ignore[arg-type]

    monkeypatch.setattr(compression, "_grown", counted)
    assert set(produced(node, batch_of(bytes(200 * MIB), 1))) == {ErrorCode.message_too_large}
    assert sizes == [compression.MAX_DECOMPRESSED_BYTES, *[0] * 49]


def test_records_without_any_content_are_refused_before_they_are_counted_through(node: Node) -> None:
    """A hundred million of them fit into four kilobytes of zstd, and each was one step of the loop."""
    assert set(produced(node, batch_of(bytes(10_000), 10_000))) == {ErrorCode.invalid_record}
    with pytest.raises(MalformedBatch, match="do not hold"):
        check_framing(bytes(13), 2)


def test_what_clients_send_is_not_held_up(node: Node) -> None:
    batch = encode_batch([(None, b"x" * 1000)] * 500, BatchSpec(compression="zstd", timestamp_ms=5))
    assert produced(node, batch) == [ErrorCode.none] * 50


def test_bytes_and_records_are_those_of_the_whole_request() -> None:
    unpacking = Unpacking(max_bytes=100, max_records=10)
    assert unpacking.unpack(ZSTD, compress(ZSTD, bytes(60)), records=4) == bytes(60)
    assert unpacking.unpack(0, bytes(1000), records=1000) == bytes(1000), "nothing to unpack costs nothing"
    with pytest.raises(ApiError, match="more than 40"):
        unpacking.unpack(ZSTD, compress(ZSTD, bytes(60)), records=4)
    with pytest.raises(ApiError, match="too many records"):
        unpacking.unpack(ZSTD, compress(ZSTD, b""), records=3)
