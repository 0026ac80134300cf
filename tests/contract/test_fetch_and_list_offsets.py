"""Fetch and ListOffsets, request by request: limits, epochs, special timestamps. On our broker and on Apache Kafka."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from tests.support.batches import Record, hand_made, produce_raw
from tests.support.brokers import Cluster, Names
from tests.support.clients import make_topic
from tests.support.wire import WireClient, nested

from tallystick.wire.records import iterate_batches

BASE_MS = 1_700_000_000_000
NOTHING = ("none", -1, -1)


@pytest.fixture
def client(kafka: Cluster) -> Iterator[WireClient]:
    with WireClient(kafka.bootstrap) as connected:
        yield connected


@pytest.fixture
def topic(kafka: Cluster, client: WireClient, names: Names) -> str:
    """Five batches of two records; the latest time is in the third batch. Partition 1 is empty."""
    name = make_topic(kafka.bootstrap, names("read"), partitions=2, config={"retention.ms": "-1"})
    for number in range(5):
        records = [Record(value=b"x" * 100), Record(value=b"y" * 100, timestamp_delta_ms=500 if number == 2 else 5)]
        row = produce_raw(client, name, hand_made(records, base_timestamp_ms=BASE_MS + number * 10))
        assert row.error_code.name == "none"
    return name


def list_offset(
    client: WireClient, topic: str, timestamp: int, *, version: int = 10, partition: int = 0, epoch: int = -1
) -> tuple[str, int, int]:
    row = nested(
        "list_offsets",
        version,
        "ListOffsetsPartition",
        partition_index=partition,
        current_leader_epoch=epoch,
        timestamp=timestamp,
    )
    topics = (nested("list_offsets", version, "ListOffsetsTopic", name=topic, partitions=(row,)),)
    answer = client.ask(
        "list_offsets", version, replica_id=-1, isolation_level=0, topics=topics, timeout=timedelta(seconds=5)
    )
    (found,) = answer.topics[0].partitions
    return found.error_code.name, found.offset, found.timestamp


def fetch(client: WireClient, topic: str | uuid.UUID, *, version: int = 12, **fields: Any) -> Any:
    """The answer to a request for partition 0; ``fields`` are those of the request or of its row."""
    of_request = {name: fields.pop(name) for name in ("max_bytes", "min_bytes", "max_wait_ms") if name in fields}
    places = fields.pop("partitions", (0,))
    of_row = {
        "fetch_offset": 0,
        "partition_max_bytes": 1 << 20,
        "log_start_offset": -1,
        "current_leader_epoch": -1,
        "last_fetched_epoch": -1,
        "replica_directory_id": None,
    } | fields
    rows = tuple(nested("fetch", version, "FetchPartition", partition=place, **of_row) for place in places)
    named = {"topic": topic} if isinstance(topic, str) else {"topic_id": topic}
    return client.ask(
        "fetch",
        version,
        max_wait=timedelta(milliseconds=of_request.get("max_wait_ms", 0)),
        min_bytes=of_request.get("min_bytes", 0),
        max_bytes=of_request.get("max_bytes", 1 << 20),
        isolation_level=0,
        session_epoch=-1,
        forgotten_topics_data=(),
        rack_id="",
        topics=(nested("fetch", version, "FetchTopic", partitions=rows, **named),),
    )


def rows_of(answer: Any) -> list[tuple[str, list[int]]]:
    """Error and base offsets, partition by partition."""
    return [
        (row.error_code.name, [header.base_offset for header, _ in iterate_batches(bytes(row.records or b""))])
        for topic in answer.responses
        for row in topic.partitions
    ]


def test_special_timestamps_name_offsets(client: WireClient, topic: str) -> None:
    assert list_offset(client, topic, -1) == ("none", 10, -1)
    assert list_offset(client, topic, -2) == ("none", 0, -1)
    assert list_offset(client, topic, -3) == ("none", 5, BASE_MS + 520)
    assert list_offset(client, topic, -4) == ("none", 0, -1)
    assert list_offset(client, topic, -5) == NOTHING
    assert list_offset(client, topic, BASE_MS + 15) == ("none", 3, BASE_MS + 15)
    assert list_offset(client, topic, BASE_MS + 521) == NOTHING


def test_an_empty_partition_has_a_beginning_and_an_end_only(client: WireClient, topic: str) -> None:
    found = {spec: list_offset(client, topic, spec, partition=1)[1] for spec in (-1, -2, -3, -4, -5, 0)}
    assert found == {-1: 0, -2: 0, -3: -1, -4: 0, -5: -1, 0: -1}


@pytest.mark.parametrize(("spec", "first"), [(-3, 7), (-4, 8), (-5, 9)])
def test_a_special_timestamp_is_known_from_its_version_on(
    client: WireClient, topic: str, spec: int, first: int
) -> None:
    assert list_offset(client, topic, spec, version=first)[0] == "none"
    assert list_offset(client, topic, spec, version=first - 1) == ("unsupported_version", -1, -1)


def test_a_timestamp_that_means_nothing_is_refused(client: WireClient, topic: str) -> None:
    assert list_offset(client, topic, -7) == ("unsupported_version", -1, -1)


def test_who_has_heard_of_a_later_leader_is_told_that_there_is_none(client: WireClient, topic: str) -> None:
    assert list_offset(client, topic, -1, epoch=1_000) == ("unknown_leader_epoch", -1, -1)
    assert rows_of(fetch(client, topic, current_leader_epoch=1_000)) == [("unknown_leader_epoch", [])]
    assert list_offset(client, topic, -1, epoch=0) == ("none", 10, -1)


def test_who_has_read_more_than_there_is_is_told_where_the_log_ends(client: WireClient, topic: str) -> None:
    (row,) = fetch(client, topic, fetch_offset=20, last_fetched_epoch=0).responses[0].partitions
    assert (row.error_code.name, row.diverging_epoch.epoch, row.diverging_epoch.end_offset) == ("none", 0, 10)
    assert rows_of(fetch(client, topic, fetch_offset=2, last_fetched_epoch=0)) == [("none", [2, 4, 6, 8])]
    assert rows_of(fetch(client, topic, fetch_offset=2, last_fetched_epoch=9)) == [("offset_out_of_range", [])]
    assert rows_of(fetch(client, topic, fetch_offset=20)) == [("offset_out_of_range", [])]


def test_the_first_batch_is_given_though_it_is_larger_than_was_asked_for(client: WireClient, topic: str) -> None:
    assert rows_of(fetch(client, topic, partition_max_bytes=1)) == [("none", [0])]
    assert rows_of(fetch(client, topic, max_bytes=1)) == [("none", [0])]
    assert rows_of(fetch(client, topic, partition_max_bytes=0)) == [("none", [0])]


def test_only_the_first_partition_with_records_goes_over_the_limit(client: WireClient, topic: str) -> None:
    row = nested("produce", 12, "PartitionProduceData", index=1, records=hand_made([Record(value=b"z" * 300)]))
    client.ask(
        "produce",
        12,
        transactional_id=None,
        acks=-1,
        timeout=timedelta(seconds=30),
        topic_data=(nested("produce", 12, "TopicProduceData", name=topic, partition_data=(row,)),),
    )
    assert rows_of(fetch(client, topic, partitions=(0, 1), max_bytes=300)) == [("none", [0]), ("none", [])]
    assert rows_of(fetch(client, topic, partitions=(0, 1))) == [("none", [0, 2, 4, 6, 8]), ("none", [0])]


def test_a_topic_id_that_is_nobodys_is_unknown(client: WireClient) -> None:
    for version in (13, 16):
        assert rows_of(fetch(client, uuid.uuid4(), version=version)) == [("unknown_topic_id", [])]


def test_who_wants_more_than_he_takes_is_answered_at_once(client: WireClient, topic: str) -> None:
    # Were it not, this connection's patience would end before the broker's.
    answer = fetch(client, topic, min_bytes=1_000_000, max_bytes=1_000, max_wait_ms=600_000)
    assert rows_of(answer)[0][1][0] == 0


def test_who_wants_more_than_there_is_is_answered_when_time_is_up(client: WireClient, topic: str) -> None:
    assert rows_of(fetch(client, topic, min_bytes=1_000_000, max_wait_ms=300)) == [("none", [0, 2, 4, 6, 8])]
