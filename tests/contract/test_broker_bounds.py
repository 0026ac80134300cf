"""Where a request ends that asks for too much, or does not keep to its schema: on both brokers."""

from __future__ import annotations

import socket
from datetime import timedelta

from tests.support.brokers import Cluster, Names
from tests.support.clients import eventually, make_topic
from tests.support.wire import WireClient, nested, request

from tallystick.wire.errors import ErrorCode
from tallystick.wire.frames import LENGTH_BYTES, read_response, write_request

WAIT_S = 30.0


def answer(kafka: Cluster, frame: bytes) -> bytes | None:
    """The first answer to a frame, without its length; None if the broker ends the connection."""
    host, port = kafka.bootstrap.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=WAIT_S) as peer, peer.makefile("rb") as stream:
        peer.sendall(len(frame).to_bytes(LENGTH_BYTES, "big") + frame)
        try:
            prefix = stream.read(LENGTH_BYTES)
            return stream.read(int.from_bytes(prefix, "big")) if prefix else None
        except ConnectionResetError:
            return None


def metadata_frame(names: Names) -> bytes:
    topic = nested("metadata", 12, "MetadataRequestTopic", topic_id=None, name=names("absent"))
    fields = {"allow_auto_topic_creation": False, "include_topic_authorized_operations": False}
    return write_request(7, "t", request("metadata", 12, topics=(topic,), **fields))[LENGTH_BYTES:]


def test_a_request_makes_ten_thousand_partitions_and_no_more(kafka: Cluster, names: Names) -> None:
    topics = tuple(
        nested(
            "create_topics",
            7,
            "CreatableTopic",
            name=names("many"),
            num_partitions=count,
            replication_factor=1,
            assignments=(),
            configs=(),
        )
        for count in (5_000, 5_001)
    )
    with WireClient(kafka.bootstrap) as client:
        made = client.ask("create_topics", 7, topics=topics, timeout=timedelta(seconds=20), validate_only=False)
    assert {row.error_code for row in made.topics} == {ErrorCode.policy_violation}
    assert {row.error_message for row in made.topics} == {"Excessively large number of partitions per request."}


def test_a_partition_that_is_named_twice_has_no_offset_by_time(kafka: Cluster, names: Names) -> None:
    topic = make_topic(kafka.bootstrap, names("twice"), partitions=2)
    rows = tuple(
        nested("list_offsets", 6, "ListOffsetsPartition", partition_index=index, current_leader_epoch=-1, timestamp=-1)
        for index in (0, 1, 1)
    )
    topics = (nested("list_offsets", 6, "ListOffsetsTopic", name=topic, partitions=rows),)
    with WireClient(kafka.bootstrap) as client:

        def by_partition() -> dict[int, ErrorCode]:
            (told,) = client.ask("list_offsets", 6, replica_id=-1, isolation_level=0, topics=topics).topics
            return {row.partition_index: row.error_code for row in told.partitions}

        # Apache Kafka tells of a topic before its broker leads it.
        eventually(lambda: by_partition()[0] is not ErrorCode.not_leader_or_follower)
        assert by_partition() == {0: ErrorCode.none, 1: ErrorCode.invalid_request}


def test_a_topic_that_is_named_often_is_described_once(kafka: Cluster, names: Names) -> None:
    topic = make_topic(kafka.bootstrap, names("often"))
    rows = (nested("metadata", 12, "MetadataRequestTopic", topic_id=None, name=topic),) * 50
    fields = {"allow_auto_topic_creation": False, "include_topic_authorized_operations": False}
    with WireClient(kafka.bootstrap) as client:
        assert [row.name for row in client.ask("metadata", 12, topics=rows, **fields).topics] == [topic]


def test_a_tagged_field_that_is_not_known_is_skipped(kafka: Cluster, names: Names) -> None:
    frame = metadata_frame(names)
    assert frame[-1] == 0, "no tagged field yet"
    told = answer(kafka, frame[:-1] + b"\x01\x63\x05later")
    assert told is not None
    correlation_id, response = read_response(told, 3, 12)
    assert (correlation_id, len(response.topics)) == (7, 1)


def test_a_list_that_is_longer_than_its_frame_ends_its_connection_alone(kafka: Cluster, names: Names) -> None:
    header = b"\0\x03\0\x01\0\0\0\x07\xff\xff"
    with WireClient(kafka.bootstrap) as other:
        for count in (b"\x7f\xff\xff\xff", b"\x00\x10\x00\x00"):
            assert answer(kafka, header + count) is None
        assert other.ask("api_versions", 0).error_code is ErrorCode.none
    assert answer(kafka, metadata_frame(names)) is not None


def test_a_list_that_is_null_and_may_not_be_ends_its_connection(kafka: Cluster) -> None:
    assert answer(kafka, b"\0\x03\0\0\0\0\0\x07\xff\xff" + b"\xff\xff\xff\xff") is None
