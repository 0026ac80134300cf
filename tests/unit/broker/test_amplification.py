"""What a short request may not do: ask for an endless answer, work for minutes, or leave too much behind."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.broker.in_process import ask, opened

from tallystick.broker.groups.records import CommittedOffset
from tallystick.broker.groups.requests.offsets import Committer
from tallystick.broker.limits import MAX_JOURNAL_RECORD_BYTES, MAX_PARTITIONS_PER_REQUEST
from tallystick.broker.node import Node
from tallystick.wire import schema
from tallystick.wire.batch import MAGIC, BatchHeader, read_header, write_batch
from tallystick.wire.compression import compress
from tallystick.wire.errors import ApiError, ErrorCode

MANY = 20_000


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with opened(tmp_path) as node:
        node.partitions.create("t", partition_count=3)
        yield node


def commit(node: Node, group: str, offsets: list[CommittedOffset]) -> set[ErrorCode]:
    return set(node.groups.offsets.commit(group, Committer(), offsets).values())


def test_a_topic_that_is_named_often_is_described_once(node: Node) -> None:
    build = schema.request("metadata", 12)
    topic_id = node.partitions.by_name("t").topic_id  # type: ignore[union-attr]
    rows = (
        build.MetadataRequestTopic(topic_id=None, name="t"),
        build.MetadataRequestTopic(topic_id=topic_id, name=None),
    )
    fields = {"allow_auto_topic_creation": False, "include_topic_authorized_operations": False}
    answer = ask(node, "metadata", 12, topics=rows * MANY, **fields)
    assert [row.name for row in answer.topics] == ["t", "t"], "once by its name and once by its id"


def test_what_is_described_is_described_once_however_often_it_is_named(node: Node) -> None:
    commit(node, "g", [CommittedOffset(topic="t", partition=0, offset=1)])
    assert (
        len(ask(node, "describe_groups", 5, groups=("g", "h") * MANY, include_authorized_operations=False).groups) == 2
    )
    answer = ask(node, "consumer_group_describe", 1, group_ids=("g", "h") * MANY, include_authorized_operations=False)
    assert len(answer.groups) == 2
    answer = ask(node, "describe_transactions", 0, transactional_ids=("a", "b") * MANY)
    assert len(answer.transaction_states) == 2
    build = schema.request("describe_producers", 0)
    topics = (build.TopicRequest(name="t", partition_indexes=(0, 1) * 100),) * 100
    answer = ask(node, "describe_producers", 0, topics=topics)
    assert [[row.partition_index for row in topic.partitions] for topic in answer.topics] == [[0, 1]]
    build = schema.request("describe_configs", 4)
    resources = tuple(
        build.DescribeConfigsResource(resource_type=2, resource_name="t", configuration_keys=keys)
        for keys in (None, (), ("retention.ms",)) * 1_000
    )
    fields = {"include_synonyms": False, "include_documentation": False}
    assert len(ask(node, "describe_configs", 4, resources=resources, **fields).results) == 1


def test_the_offsets_of_a_group_are_told_once_however_often_all_of_them_are_asked_for(node: Node) -> None:
    commit(node, "g", [CommittedOffset(topic="t", partition=0, offset=1)])
    build = schema.request("offset_fetch", 9)
    groups = tuple(
        build.OffsetFetchRequestGroup(group_id="g", member_id=None, member_epoch=epoch, topics=None)
        for epoch in range(MANY)
    )
    answer = ask(node, "offset_fetch", 9, groups=groups, require_stable=False)
    assert [[row.name for row in group.topics] for group in answer.groups] == [["t"]]


def test_a_partition_that_is_named_twice_has_no_offset_by_time(node: Node) -> None:
    build = schema.request("list_offsets", 6)
    rows = tuple(
        build.ListOffsetsPartition(partition_index=index, current_leader_epoch=-1, timestamp=-1) for index in (0, 1, 1)
    )
    topics = (build.ListOffsetsTopic(name="t", partitions=rows),)
    (topic,) = ask(node, "list_offsets", 6, replica_id=-1, isolation_level=0, topics=topics).topics
    codes = [row.error_code for row in topic.partitions]
    assert codes == [ErrorCode.none, ErrorCode.invalid_request, ErrorCode.invalid_request]


def creations(*counts: int, names: str = "new") -> dict[str, Any]:
    build = schema.request("create_topics", 7)
    topics = tuple(
        build.CreatableTopic(
            name=f"{names}-{number}", num_partitions=count, replication_factor=1, assignments=(), configs=()
        )
        for number, count in enumerate(counts)
    )
    return {"topics": topics, "timeout": timedelta(0), "validate_only": False}


def test_one_request_makes_so_many_partitions_and_no_more(node: Node) -> None:
    half = MAX_PARTITIONS_PER_REQUEST // 2
    answer = ask(node, "create_topics", 7, **creations(half, half + 1))
    assert {row.error_code for row in answer.topics} == {ErrorCode.policy_violation}
    build = schema.request("create_partitions", 3)
    node.partitions.create("u", partition_count=1)
    topics = tuple(
        build.CreatePartitionsTopic(name=name, count=half + more, assignments=None)
        for name, more in (("t", 3), ("u", 2))
    )
    answer = ask(node, "create_partitions", 3, topics=topics, timeout=timedelta(0), validate_only=False)
    assert {row.error_code for row in answer.results} == {ErrorCode.policy_violation}
    assert sum(len(topic.partitions) for topic in node.partitions.all()) == 4


def test_topics_that_one_metadata_request_may_not_make_any_more_are_unknown_until_the_next(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tallystick.broker.handlers import metadata

    monkeypatch.setattr(metadata._Making, "__init__", lambda self: setattr(self, "partitions", 5))
    build = schema.request("metadata", 12)
    rows = tuple(build.MetadataRequestTopic(topic_id=None, name=f"auto-{number}") for number in range(4))
    fields = {"allow_auto_topic_creation": True, "include_topic_authorized_operations": False}
    for made in (2, 4):
        answer = ask(node, "metadata", 12, topics=rows, **fields)
        assert [row.error_code for row in answer.topics] == [
            *[ErrorCode.none] * made,
            *[ErrorCode.unknown_topic_or_partition] * (4 - made),
        ]


def test_the_same_name_is_found_among_very_many_in_little_time(node: Node) -> None:
    """It was compared with every other one: 40,000 names took minutes."""
    answer = ask(node, "create_topics", 7, **creations(*[0] * MANY))
    assert {row.error_code for row in answer.topics} == {ErrorCode.invalid_partitions}


@contextmanager
def open_files(most: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_partitions_stop_where_the_files_would_and_the_node_starts_again(tmp_path: Path) -> None:
    with opened(tmp_path) as node, open_files(400):
        for number in range(2):
            node.partitions.create(f"t-{number}", partition_count=140)
        with pytest.raises(ApiError, match="no more than 300 fit") as refused:
            node.partitions.create("t-2", partition_count=21)
        assert refused.value.code is ErrorCode.policy_violation
        with pytest.raises(ApiError, match="no more than 300 fit"):
            node.partitions.grow("t-0", partition_count=161)
        node.partitions.create("t-2", partition_count=20)
        node.partitions.delete(node.partitions.by_name("t-0"))  # type: ignore[arg-type]
        node.partitions.create("t-3", partition_count=140)
    with open_files(400), opened(tmp_path) as node:
        assert sum(len(topic.partitions) for topic in node.partitions.all()) == 300


def test_what_is_too_large_for_the_journal_is_refused_by_the_code_that_apache_kafka_has(node: Node) -> None:
    row = CommittedOffset(topic="t", partition=0, offset=1, metadata="\x01" * 4096)
    count = MAX_JOURNAL_RECORD_BYTES // (4096 * 6) + 1
    assert commit(node, "g", [row] * count) == {ErrorCode.invalid_commit_offset_size}
    assert commit(node, "g", [row]) == {ErrorCode.none}


def test_a_group_with_very_many_large_offsets_does_not_keep_the_node_from_starting(tmp_path: Path) -> None:
    count = MAX_JOURNAL_RECORD_BYTES // (4096 * 6) + 100
    rows = [CommittedOffset(topic="t", partition=index, offset=7, metadata="\x01" * 4096) for index in range(count)]
    with opened(tmp_path) as node:
        node.partitions.create("t", partition_count=count)
        for at in range(0, count, 200):
            assert commit(node, "g", rows[at : at + 200]) == {ErrorCode.none}
    for _ in range(2):  # the journal is compacted by the first start
        with opened(tmp_path) as node:
            assert len(node.groups.offsets.fetch("g", None, require_stable=True)) == count


def lying_there(node: Node, batch: bytes) -> None:
    """A batch in the log as an earlier version of the broker took it, or as damage left it."""
    partition = node.partitions.partition("t", 0)
    assert partition is not None
    partition.log.append(read_header(batch), batch)


def offset_by_time(node: Node) -> Any:
    build = schema.request("list_offsets", 6)
    rows = (build.ListOffsetsPartition(partition_index=0, current_leader_epoch=-1, timestamp=1),)
    topics = (build.ListOffsetsTopic(name="t", partitions=rows),)
    (topic,) = ask(node, "list_offsets", 6, replica_id=-1, isolation_level=0, topics=topics).topics
    return topic.partitions[0]


def batch_of(codec: int, body: bytes) -> bytes:
    """A batch of one record whose body is whatever it is."""
    return write_batch(BatchHeader(0, 0, -1, MAGIC, 0, codec, 0, 5, 5, -1, -1, -1, 1), body)


@pytest.mark.parametrize("codec", [1, 3, 4])
def test_a_batch_that_becomes_huge_is_not_unpacked_to_answer_for_its_time(node: Node, codec: int) -> None:
    lying_there(node, batch_of(codec, compress(codec, bytes(200 * 1024 * 1024))))
    assert offset_by_time(node).error_code is ErrorCode.kafka_storage_error


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"rubbish", id="no record"),
        pytest.param(b"\x18\x00\x00\x00\x01\x01\x02\x04\xff\xff\x00\x00\x00", id="a header's name is not UTF-8"),
        pytest.param(b"\x1a\x00" + b"\xff" * 9 + b"\x01" + b"\x00\x01\x01\x00", id="a timestamp of more than 64 bits"),
    ],
)
def test_records_that_cannot_be_read_give_an_error_code_when_their_time_is_asked_for(node: Node, body: bytes) -> None:
    lying_there(node, batch_of(0, body))
    assert offset_by_time(node).error_code in (ErrorCode.kafka_storage_error, ErrorCode.none)
