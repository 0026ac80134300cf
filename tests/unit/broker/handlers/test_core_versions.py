"""Every core API answers in every version that ApiVersions names."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from kio.index import load_request_schema
from tests.unit.broker.in_process import ask, ask_with, opened

from tallystick.broker.api import RequestContext
from tallystick.broker.handlers import fetch as fetch_handler
from tallystick.broker.node import Node
from tallystick.broker.partition import Partition
from tallystick.broker.registry import APIS
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode
from tallystick.wire.records import BatchSpec, encode_batch, iterate_batches

RANGES = {api.name: range(api.min_version, api.max_version + 1) for api in APIS}


def versions(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("version", [version for name in names for version in RANGES[name]])


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with opened(tmp_path_factory.mktemp("node") / "data") as running:
        running.partitions.create("events", partition_count=2)
        for partition in (0, 1):
            produce(running, "events", partition, 11)
        yield running


def produce(node: Node, topic: str, partition: int, version: int, *, acks: int = -1, batch: bytes | None = None) -> Any:
    build = schema.request("produce", version)
    records = encode_batch([(b"k", b"v")] * 3, BatchSpec(timestamp_ms=1_000)) if batch is None else batch
    return ask_with(
        node,
        build.ProduceRequest(
            transactional_id=None,
            acks=acks,
            timeout=timedelta(seconds=1),
            topic_data=(
                build.TopicProduceData(
                    name=topic, partition_data=(build.PartitionProduceData(index=partition, records=records),)
                ),
            ),
        ),
    )


def fetch(node: Node, version: int, *, offset: int = 0, partition: int = 0, **fields: Any) -> Any:
    build = schema.request("fetch", version)
    by_id = version >= 13
    identity = {"topic_id": node.partitions.topic_id("events")} if by_id else {"topic": "events"}
    wanted = build.FetchPartition(
        partition=partition, fetch_offset=offset, partition_max_bytes=1_000_000, replica_directory_id=None
    )
    request = {
        "max_wait": timedelta(0),
        "min_bytes": 0,
        "max_bytes": 1_000_000,
        "isolation_level": 1,
        "topics": (build.FetchTopic(**identity, partitions=(wanted,)),),
        "forgotten_topics_data": (),
    }
    return ask_with(node, build.FetchRequest(**(request | fields)))


def test_every_advertised_version_exists_in_the_schema() -> None:
    for api in APIS:
        for version in range(api.min_version, api.max_version + 1):
            assert load_request_schema(api.key, version).__api_key__ == api.key


@versions("api_versions")
def test_api_versions_names_exactly_what_is_answered_and_to_be_known(node: Node, version: int) -> None:
    fields = {"client_software_name": "t", "client_software_version": "1"} if version >= 3 else {}
    answer = ask(node, "api_versions", version, **fields)
    named = {row.api_key: (row.min_version, row.max_version) for row in answer.api_keys}
    assert named == {
        api.key: (
            api.min_version if api.advertised_min_version is None else api.advertised_min_version,
            api.max_version,
        )
        for api in APIS
        if api.is_advertised
    }


@versions("metadata")
def test_metadata_names_all_topics_or_the_one_asked_for(node: Node, version: int) -> None:
    authorized = {"include_topic_authorized_operations": False, "include_cluster_authorized_operations": False}
    every = ask(node, "metadata", version, topics=() if version == 0 else None, **authorized)
    assert [topic.name for topic in every.topics] == ["events"]
    build = schema.request("metadata", version)
    one = build.MetadataRequestTopic(topic_id=None, name="events")
    answer = ask(node, "metadata", version, topics=(one,), **authorized)
    (topic,) = answer.topics
    assert topic.error_code == ErrorCode.none
    assert [(row.partition_index, row.leader_id) for row in topic.partitions] == [(0, 1), (1, 1)]
    assert [(row.node_id, row.host, row.port) for row in answer.brokers] == [(1, "127.0.0.1", 1)]


@versions("produce")
def test_produce_answers_the_offset_of_the_batch(node: Node, version: int) -> None:
    partition = node.partitions.partition("events", 1)
    assert partition is not None
    end = partition.log.end_offset
    (topic,) = produce(node, "events", 1, version).responses
    (row,) = topic.partition_responses
    assert (row.error_code, row.base_offset) == (ErrorCode.none, end)
    assert produce(node, "events", 1, version, acks=0) is None
    assert partition.log.end_offset == end + 6


@versions("produce")
def test_produce_refuses_damaged_bytes_and_unknown_partitions(node: Node, version: int) -> None:
    good = encode_batch([(None, b"v")], BatchSpec())
    for partition, batch, code in (
        (0, good[:-1] + b"\xff", ErrorCode.corrupt_message),
        (0, good + good, ErrorCode.invalid_record),
        (0, b"", ErrorCode.invalid_record),
        (9, good, ErrorCode.unknown_topic_or_partition),
        (0, encode_batch([(b"\0\0\0\1", b"\0" * 6)], BatchSpec(control=True)), ErrorCode.invalid_record),
        (0, encode_batch([(None, b"x" * 2_000_000)], BatchSpec()), ErrorCode.message_too_large),
    ):
        (row,) = produce(node, "events", partition, version, batch=batch).responses[0].partition_responses
        assert (row.error_code, row.base_offset) == (code, -1)


@versions("fetch")
def test_fetch_gives_whole_batches_from_the_offset_asked_for(node: Node, version: int) -> None:
    (row,) = fetch(node, version, offset=1).responses[0].partitions
    assert row.error_code == ErrorCode.none
    assert (row.high_watermark, row.last_stable_offset) == (3, 3)
    assert [(header.base_offset, header.record_count) for header, _ in iterate_batches(row.records)] == [(0, 3)]
    (row,) = fetch(node, version, offset=3).responses[0].partitions
    assert (row.error_code, row.records) == (ErrorCode.none, b"")
    (row,) = fetch(node, version, offset=4).responses[0].partitions
    assert row.error_code == ErrorCode.offset_out_of_range


@pytest.mark.parametrize("version", [version for version in RANGES["fetch"] if version >= 7])
def test_fetch_refuses_a_session_that_it_never_gave(node: Node, version: int) -> None:
    assert fetch(node, version).session_id == 0
    assert fetch(node, version, session_id=5, session_epoch=1).error_code == ErrorCode.fetch_session_id_not_found


@versions("list_offsets")
def test_list_offsets_finds_earliest_latest_and_times(node: Node, version: int) -> None:
    build = schema.request("list_offsets", version)

    def offset(timestamp_ms: int) -> tuple[int, int]:
        wanted = build.ListOffsetsPartition(partition_index=0, timestamp=timestamp_ms)
        (topic,) = ask(
            node,
            "list_offsets",
            version,
            replica_id=-1,
            isolation_level=0,
            timeout=timedelta(0),
            topics=(build.ListOffsetsTopic(name="events", partitions=(wanted,)),),
        ).topics
        return topic.partitions[0].offset, topic.partitions[0].timestamp

    assert offset(-1) == (3, -1)
    assert offset(-2) == (0, -1)
    assert offset(-3) == ((0, 1_000) if version >= 7 else (-1, -1))
    assert offset(500) == (0, 1_000)
    assert offset(1_001) == (-1, -1)


@versions("create_topics")
def test_topics_are_made_grown_and_deleted(node: Node, version: int) -> None:
    build = schema.request("create_topics", version)

    def create(name: str, **fields: Any) -> Any:
        topic = {"num_partitions": 3, "replication_factor": 1, "assignments": (), "configs": ()} | fields
        request = (build.CreatableTopic(name=name, **topic),)
        (row,) = ask(node, "create_topics", version, topics=request, timeout=timedelta(0), validate_only=False).topics
        return row.error_code

    def config(name: str, value: str) -> Any:
        return (build.CreatableTopicConfig(name=name, value=value),)

    name = f"made-{version}"
    assert create(name) == ErrorCode.none
    assert create(name) == ErrorCode.topic_already_exists
    assert create("a/b") == ErrorCode.invalid_topic_exception
    assert create("a", replication_factor=3) == ErrorCode.invalid_replication_factor
    assert create("a", num_partitions=0) == ErrorCode.invalid_partitions
    assert create("a", configs=config("cleanup.policy", "never")) == ErrorCode.invalid_config
    assert create("a", configs=config("no.such", "1")) == ErrorCode.invalid_config
    assert not node.partitions.exists("a", 0)

    grow = schema.request("create_partitions", min(version, 3))
    wanted = grow.CreatePartitionsTopic(name=name, count=5, assignments=None)
    answer = ask(
        node, "create_partitions", min(version, 3), topics=(wanted,), timeout=timedelta(0), validate_only=False
    )
    assert answer.results[0].error_code == ErrorCode.none
    assert node.partitions.exists(name, 4)
    assert not node.partitions.exists(name, 5)

    delete = min(version, 6)
    topics = schema.request("delete_topics", delete)
    by_name = (
        {"topics": (topics.DeleteTopicState(name=name, topic_id=None),)} if delete >= 6 else {"topic_names": (name,)}
    )
    for code in (ErrorCode.none, ErrorCode.unknown_topic_or_partition):
        (row,) = ask(node, "delete_topics", delete, timeout=timedelta(0), **by_name).responses
        assert row.error_code == code
    assert not node.partitions.exists(name, 0)


@versions("describe_cluster")
def test_describe_cluster_names_the_one_broker(node: Node, version: int) -> None:
    answer = ask(
        node, "describe_cluster", version, include_cluster_authorized_operations=False, include_fenced_brokers=False
    )
    assert (answer.cluster_id, answer.controller_id) == (node.cluster_id, 1)
    assert [broker.broker_id for broker in answer.brokers] == [1]


@versions("describe_configs")
def test_describe_configs_tells_what_holds(node: Node, version: int) -> None:
    build = schema.request("describe_configs", version)
    resources = tuple(
        build.DescribeConfigsResource(resource_type=kind, resource_name=name, configuration_keys=keys)
        for kind, name, keys in ((2, "events", ("cleanup.policy",)), (4, "1", None), (2, "none", None))
    )
    topic, broker, missing = ask(node, "describe_configs", version, resources=resources).results
    assert [(row.name, row.value) for row in topic.configs] == [("cleanup.policy", "delete")]
    assert ("num.partitions", "2") in [(row.name, row.value) for row in broker.configs]
    assert missing.error_code == ErrorCode.unknown_topic_or_partition


@versions("offset_for_leader_epoch")
def test_offset_for_leader_epoch_knows_one_epoch(node: Node, version: int) -> None:
    build = schema.request("offset_for_leader_epoch", version)

    def end(leader_epoch: int, current: int = 0) -> tuple[ErrorCode, int]:
        wanted = build.OffsetForLeaderPartition(partition=0, current_leader_epoch=current, leader_epoch=leader_epoch)
        topics = (build.OffsetForLeaderTopic(topic="events", partitions=(wanted,)),)
        (row,) = ask(node, "offset_for_leader_epoch", version, topics=topics).topics[0].partitions
        return row.error_code, row.end_offset

    assert end(0) == (ErrorCode.none, 3)
    assert end(1) == (ErrorCode.none, -1)
    assert end(0, current=1) == (ErrorCode.unknown_leader_epoch, -1)


def test_a_full_disk_is_an_error_to_the_client_and_nothing_is_written(node: Node, tmp_path: Path) -> None:
    with opened(tmp_path / "data") as own:
        own.partitions.create("full", partition_count=1)
        partition = own.partitions.partition("full", 0)
        assert partition is not None
        file = partition.log.segments[-1].file
        assert file is not None
        real = file.fd
        with Path("/dev/full").open("wb") as full:
            file.fd = full.fileno()
            (row,) = produce(own, "full", 0, 11).responses[0].partition_responses
        file.fd = real
        assert row.error_code == ErrorCode.kafka_storage_error
        (row,) = produce(own, "full", 0, 11).responses[0].partition_responses
        assert (row.error_code, row.base_offset) == (ErrorCode.none, 0)


def test_once_an_answer_is_full_the_partitions_behind_are_not_read(tmp_path: Path) -> None:
    with opened(tmp_path / "data") as node:
        topic = node.partitions.create("events", partition_count=3)
        batch = encode_batch([(None, bytes(100))], BatchSpec())
        for partition in topic.partitions:
            for _ in range(2):
                partition.append(batch, verify=lambda *_: 0)
        (file,) = [segment.file for segment in topic.partitions[2].log.segments]
        assert file is not None
        build = schema.request("fetch", 12)
        wanted = tuple(
            build.FetchPartition(partition=index, fetch_offset=0, partition_max_bytes=1_000_000) for index in range(3)
        )

        def errors(max_bytes: int) -> list[tuple[ErrorCode, int]]:
            topics = (build.FetchTopic(topic="events", partitions=wanted),)
            (row,) = fetch(node, 12, max_bytes=max_bytes, topics=topics).responses
            return [(part.error_code, len(part.records)) for part in row.partitions]

        one, real = len(batch), file.fd
        assert errors(6 * one) == [(ErrorCode.none, 2 * one)] * 3
        file.fd = -1  # whoever reads it is told so
        try:
            assert errors(6 * one)[2] == (ErrorCode.kafka_storage_error, 0)
            assert errors(3 * one + one // 2) == [(ErrorCode.none, 2 * one), (ErrorCode.none, one), (ErrorCode.none, 0)]
        finally:
            file.fd = real


def test_a_fetch_waits_for_data_and_is_woken_by_it(tmp_path: Path) -> None:
    with opened(tmp_path / "data") as node:
        partition = node.partitions.create("events").partitions[0]
        _fetch_waits_and_wakes(node, partition)


def _fetch_waits_and_wakes(node: Node, partition: Partition) -> None:

    async def run() -> Any:
        build = schema.request("fetch", 12)
        request = build.FetchRequest(
            max_wait=timedelta(seconds=20),
            min_bytes=1,
            isolation_level=0,
            forgotten_topics_data=(),
            topics=(
                build.FetchTopic(
                    topic="events",
                    partitions=(build.FetchPartition(partition=0, fetch_offset=0, partition_max_bytes=1000),),
                ),
            ),
        )
        context = RequestContext(node=node, api_version=12, client_id=None, client_host="", connection_id=1)
        waiting = asyncio.create_task(fetch_handler.handle(context, request))
        await asyncio.sleep(0)
        assert partition.listeners
        partition.append(encode_batch([(None, b"new")], BatchSpec()), verify=lambda *_: 0)
        return await asyncio.wait_for(waiting, 10)

    (row,) = asyncio.run(run()).responses[0].partitions
    assert [header.base_offset for header, _ in iterate_batches(row.records)] == [0]
    assert not partition.listeners
