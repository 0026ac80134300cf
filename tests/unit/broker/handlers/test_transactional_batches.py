"""Produce into transactions: which batches are asked about, and what is written of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.broker.in_process import ask, opened

from tallystick.broker.node import Node
from tallystick.wire import schema
from tallystick.wire.records import BatchSpec, encode_batch

Batches = dict[tuple[str, int], bytes]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with opened(tmp_path) as node:
        node.partitions.create("a", partition_count=3)
        yield node


def owner_of(node: Node, transactional_id: str = "t") -> tuple[int, int]:
    producer = node.transactions.init_producer_id(transactional_id, timeout_ms=60_000)
    return producer.producer_id, producer.producer_epoch


def batch(owner: tuple[int, int], *, sequence: int = 0, transactional: bool = True) -> bytes:
    spec = BatchSpec(producer_id=owner[0], producer_epoch=owner[1], base_sequence=sequence, transactional=transactional)
    return encode_batch([(None, b"x")], spec)


def produce(node: Node, batches: Batches, *, version: int = 12, transactional_id: str | None = "t") -> dict[Any, str]:
    """The error of each partition."""
    build = schema.request("produce", version)
    answer = ask(
        node,
        "produce",
        version,
        transactional_id=transactional_id,
        acks=-1,
        timeout=timedelta(seconds=1),
        topic_data=tuple(
            build.TopicProduceData(
                name=topic, partition_data=(build.PartitionProduceData(index=index, records=records),)
            )
            for (topic, index), records in batches.items()
        ),
    )
    return {
        (topic.name, row.index): row.error_code.name for topic in answer.responses for row in topic.partition_responses
    }


def in_transaction(node: Node, transactional_id: str = "t") -> tuple[tuple[str, int], ...]:
    state = node.transactions.transaction(transactional_id)
    assert state is not None
    return state.partitions


def test_all_partitions_of_a_request_join_the_transaction_in_one_record(node: Node) -> None:
    owner = owner_of(node)
    before = node.journal.record_count
    assert set(produce(node, {("a", index): batch(owner) for index in range(3)}).values()) == {"none"}
    assert in_transaction(node) == (("a", 0), ("a", 1), ("a", 2))
    assert node.journal.record_count == before + 1


def test_a_partition_that_is_in_the_transaction_is_not_asked_about_again(node: Node) -> None:
    owner = owner_of(node)
    produce(node, {("a", 0): batch(owner)})
    before = node.journal.record_count
    assert produce(node, {("a", 0): batch(owner, sequence=1)}) == {("a", 0): "none"}
    assert node.journal.record_count == before


def test_an_unknown_partition_does_not_join(node: Node) -> None:
    owner = owner_of(node)
    assert produce(node, {("a", 0): batch(owner), ("a", 9): batch(owner)}) == {
        ("a", 0): "none",
        ("a", 9): "unknown_topic_or_partition",
    }
    assert in_transaction(node) == (("a", 0),)


def test_a_batch_that_lost_its_first_one_does_not_join(node: Node) -> None:
    owner = owner_of(node)
    assert produce(node, {("a", 0): batch(owner, sequence=1)}) == {("a", 0): "out_of_order_sequence_number"}
    assert in_transaction(node) == ()


def test_a_repeated_batch_of_the_open_transaction_is_written_once(node: Node) -> None:
    owner = owner_of(node)
    for _ in range(2):
        assert produce(node, {("a", 0): batch(owner)}) == {("a", 0): "none"}
    partition = node.partitions.partition("a", 0)
    assert partition is not None
    assert partition.high_watermark == 1


@pytest.mark.parametrize(("version", "expected"), [(10, "invalid_txn_state"), (11, "transaction_abortable")])
def test_version_1_verifies_each_partition_by_itself(node: Node, version: int, expected: str) -> None:
    owner = owner_of(node)
    node.transactions.add_partitions("t", *owner, [("a", 1)])
    assert produce(node, {("a", index): batch(owner) for index in range(3)}, version=version) == {
        ("a", 0): expected,
        ("a", 1): "none",
        ("a", 2): expected,
    }
    assert in_transaction(node) == (("a", 1),)


@pytest.mark.parametrize("version", [10, 11, 12])
def test_a_zombie_and_a_stranger_have_the_names_that_producers_expect(node: Node, version: int) -> None:
    zombie = owner_of(node)
    owner_of(node)
    assert produce(node, {("a", 0): batch(zombie)}, version=version) == {("a", 0): "invalid_producer_epoch"}
    stranger = (zombie[0] + 1000, 0)
    assert produce(node, {("a", 0): batch(stranger)}, version=version) == {("a", 0): "invalid_producer_id_mapping"}
    assert node.transactions.transaction("t") == node.transactions.transactions()[0]
    assert in_transaction(node) == ()


def test_one_transactional_batch_without_an_id_refuses_the_whole_request(node: Node) -> None:
    owner = owner_of(node)
    batches = {("a", 0): batch(owner), ("a", 1): batch((-1, -1), sequence=-1, transactional=False)}
    answered = produce(node, batches, transactional_id=None)
    assert set(answered.values()) == {"transactional_id_authorization_failed"}


def test_plain_batches_ask_nobody(node: Node) -> None:
    idempotent = node.transactions.init_producer_id(None, timeout_ms=0)
    before = node.journal.record_count
    batches = {
        ("a", 0): batch((idempotent.producer_id, 0), sequence=5, transactional=False),
        ("a", 1): batch((-1, -1), sequence=-1, transactional=False),
        ("a", 2): b"no batch",
    }
    assert produce(node, batches, transactional_id=None) == {
        ("a", 0): "none",
        ("a", 1): "none",
        ("a", 2): "invalid_record",
    }
    assert node.journal.record_count == before


def test_a_torn_transactional_batch_is_refused_as_what_it_is(node: Node) -> None:
    owner = owner_of(node)
    torn = bytearray(batch(owner))
    torn[16] = 3  # the magic
    assert produce(node, {("a", 0): bytes(torn)}) == {("a", 0): "corrupt_message"}
    assert in_transaction(node) == ()
