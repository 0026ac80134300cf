"""What a log gives up: by age, by size, and when it is told to. On our broker and on Apache Kafka."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from confluent_kafka.admin import OffsetSpec
from tests.support.batches import Record, fetch_raw, hand_made, produce_raw
from tests.support.brokers import Cluster, Names
from tests.support.clients import admin, end_offset, eventually, make_topic, read_all
from tests.support.wire import WireClient, nested

HOUR_MS = 3_600_000
SMALL = {"internal.segment.bytes": "300"}
"""Two of these batches and a third do not fit into a segment."""


@pytest.fixture
def client(quick_kafka: Cluster) -> Iterator[WireClient]:
    with WireClient(quick_kafka.bootstrap) as connected:
        yield connected


def now_ms() -> int:
    return int(time.time() * 1000)


def send(client: WireClient, topic: str, count: int, *, age_ms: int = 0) -> None:
    for _ in range(count):
        row = produce_raw(client, topic, hand_made([Record(value=b"x" * 50)], base_timestamp_ms=now_ms() - age_ms))
        assert row.error_code.name == "none"


def earliest(kafka: Cluster, topic: str) -> int:
    return end_offset(kafka.bootstrap, topic, OffsetSpec.earliest())


def latest(kafka: Cluster, topic: str) -> int:
    return end_offset(kafka.bootstrap, topic, OffsetSpec.latest())


def delete_records(client: WireClient, topic: str, offset: int, *, partition: int = 0, version: int = 2) -> Any:
    row = nested("delete_records", version, "DeleteRecordsPartition", partition_index=partition, offset=offset)
    topics = (nested("delete_records", version, "DeleteRecordsTopic", name=topic, partitions=(row,)),)
    answer = client.ask("delete_records", version, topics=topics, timeout=timedelta(seconds=10))
    (found,) = answer.topics[0].partitions
    return found.error_code.name, found.low_watermark


def test_segments_whose_newest_record_is_too_old_go(quick_kafka: Cluster, client: WireClient, names: Names) -> None:
    topic = make_topic(quick_kafka.bootstrap, names("old"), config=SMALL | {"retention.ms": str(HOUR_MS)})
    send(client, topic, 4, age_ms=2 * HOUR_MS)
    send(client, topic, 4)
    # The two old batches that lie in one segment with a young one stay, as long as it stays.
    eventually(lambda: earliest(quick_kafka, topic) in (3, 4))
    start = earliest(quick_kafka, topic)
    row = fetch_raw(client, topic, offset=start - 1)
    assert row.error_code.name == "offset_out_of_range"
    assert (latest(quick_kafka, topic), fetch_raw(client, topic, offset=start).log_start_offset) == (8, start)


def test_even_the_segment_that_is_written_to_goes_and_offsets_go_on(
    quick_kafka: Cluster, client: WireClient, names: Names
) -> None:
    topic = make_topic(quick_kafka.bootstrap, names("all"), config={"retention.ms": str(HOUR_MS)})
    send(client, topic, 3, age_ms=2 * HOUR_MS)
    eventually(lambda: earliest(quick_kafka, topic) == 3)
    quick_kafka.kill()
    quick_kafka.restart()
    with WireClient(quick_kafka.bootstrap) as again:
        assert produce_raw(again, topic, hand_made()).base_offset == 3
    assert (earliest(quick_kafka, topic), latest(quick_kafka, topic)) == (3, 4)


def test_what_is_above_the_size_goes_from_the_oldest_on(quick_kafka: Cluster, client: WireClient, names: Names) -> None:
    topic = make_topic(quick_kafka.bootstrap, names("size"), config=SMALL | {"retention.bytes": "500"})
    send(client, topic, 12)
    size = len(hand_made([Record(value=b"x" * 50)]))
    eventually(lambda: earliest(quick_kafka, topic) > 0)
    # As many whole segments go as leave the size: less than a segment more than that stays.
    eventually(lambda: 500 <= (12 - earliest(quick_kafka, topic)) * size < 500 + 300)


def test_nothing_goes_from_a_topic_that_keeps_everything(
    quick_kafka: Cluster, client: WireClient, names: Names
) -> None:
    keep = make_topic(quick_kafka.bootstrap, names("keep"), config=SMALL | {"retention.ms": "-1"})
    compact = make_topic(quick_kafka.bootstrap, names("keep"), config=SMALL | {"cleanup.policy": "compact"})
    goes = make_topic(quick_kafka.bootstrap, names("goes"), config=SMALL | {"retention.ms": "1000"})
    for topic in (keep, goes):
        send(client, topic, 4, age_ms=10**12)
    keyed = [hand_made([Record(key=b"%d" % number)], base_timestamp_ms=1) for number in range(4)]
    assert all(produce_raw(client, compact, batch).error_code.name == "none" for batch in keyed)
    eventually(lambda: earliest(quick_kafka, goes) == 4)
    assert (earliest(quick_kafka, keep), earliest(quick_kafka, compact)) == (0, 0)


def test_a_segment_ends_when_it_is_old_enough(quick_kafka: Cluster, client: WireClient, names: Names) -> None:
    config = {"segment.ms": str(HOUR_MS), "retention.ms": str(HOUR_MS)}
    topic = make_topic(quick_kafka.bootstrap, names("aged"), config=config)
    now = now_ms()
    for age_ms in (3 * HOUR_MS, 2 * HOUR_MS + 60_000, HOUR_MS // 2, 0):
        produce_raw(client, topic, hand_made(base_timestamp_ms=now - age_ms))
    eventually(lambda: earliest(quick_kafka, topic) == 2)


def test_records_are_deleted_up_to_an_offset_and_stay_so(
    quick_kafka: Cluster, client: WireClient, names: Names
) -> None:
    topic = make_topic(quick_kafka.bootstrap, names("deleted"))
    produce_raw(client, topic, hand_made([Record(value=b"%d" % number) for number in range(5)]))
    assert delete_records(client, topic, 3) == ("none", 3)
    assert delete_records(client, topic, 2, version=1) == ("none", 3)
    assert fetch_raw(client, topic, offset=2).error_code.name == "offset_out_of_range"
    assert read_all(quick_kafka.bootstrap, topic) == [b"3", b"4"]
    quick_kafka.kill()
    quick_kafka.restart()
    if quick_kafka.name == "embedded":  # Apache Kafka writes its checkpoint of start offsets once a minute
        assert earliest(quick_kafka, topic) == 3
        assert read_all(quick_kafka.bootstrap, topic) == [b"3", b"4"]


def test_minus_one_deletes_everything_that_is_there(quick_kafka: Cluster, client: WireClient, names: Names) -> None:
    topic = make_topic(quick_kafka.bootstrap, names("everything"))
    send(client, topic, 4)
    assert delete_records(client, topic, -1) == ("none", 4)
    assert (earliest(quick_kafka, topic), latest(quick_kafka, topic)) == (4, 4)
    send(client, topic, 1)
    assert latest(quick_kafka, topic) == 5


def test_deleting_is_refused_above_the_end_below_zero_and_where_records_are_compacted(
    quick_kafka: Cluster, client: WireClient, names: Names
) -> None:
    topic = make_topic(quick_kafka.bootstrap, names("refused"))
    send(client, topic, 2)
    assert delete_records(client, topic, 3) == ("offset_out_of_range", -1)
    assert delete_records(client, topic, -2) == ("offset_out_of_range", -1)
    assert delete_records(client, topic, 0, partition=7) == ("unknown_topic_or_partition", -1)
    compacted = make_topic(quick_kafka.bootstrap, names("refused"), config={"cleanup.policy": "compact"})
    assert produce_raw(client, compacted, hand_made([Record(key=b"k")])).error_code.name == "none"
    assert delete_records(client, compacted, 1) == ("policy_violation", -1)
    assert admin(quick_kafka.bootstrap).list_topics(topic).topics[topic].error is None


def test_segments_before_the_start_go(quick_kafka: Cluster, client: WireClient, names: Names) -> None:
    both = SMALL | {"cleanup.policy": "compact,delete", "retention.ms": "-1"}
    for config in (SMALL | {"retention.ms": "-1"}, both):
        topic = make_topic(quick_kafka.bootstrap, names("before"), config=config)
        for number in range(8):
            produce_raw(client, topic, hand_made([Record(key=b"%d" % number, value=b"x" * 50)]))
        assert delete_records(client, topic, 7) == ("none", 7)
        assert earliest(quick_kafka, topic) == 7
        assert read_all(quick_kafka.bootstrap, topic) == [b"x" * 50]
