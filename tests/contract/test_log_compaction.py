"""Compaction, on our broker and on Apache Kafka: the same batches go in, the same records stay."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Message
from tests.support.batches import Record, fetch_raw, hand_made, produce_raw
from tests.support.brokers import Cluster, Names
from tests.support.clients import consumer, eventually, make_topic, transactional
from tests.support.wire import WireClient

from tallystick.wire.records import decode_batch, iterate_batches

COMPACT = {
    "cleanup.policy": "compact",
    "min.cleanable.dirty.ratio": "0.01",
    "internal.segment.bytes": "600",
    "delete.retention.ms": "86400000",
}
Kept = list[tuple[int, bytes | None, bytes | None]]


@pytest.fixture
def client(quick_kafka: Cluster) -> Iterator[WireClient]:
    with WireClient(quick_kafka.bootstrap) as connected:
        yield connected


def send(client: WireClient, topic: str, *pairs: tuple[bytes, bytes | None]) -> int:
    row = produce_raw(client, topic, hand_made([Record(key=key, value=value) for key, value in pairs]))
    assert row.error_code.name == "none"
    return int(row.base_offset)


def kept(client: WireClient, topic: str, *, isolation_level: int = 0) -> Kept:
    """Offset, key and value of every record that is there."""
    found: Kept = []
    offset = 0
    while True:
        row = fetch_raw(client, topic, offset=offset, isolation_level=isolation_level)
        assert row.error_code.name == "none"
        batches = list(iterate_batches(bytes(row.records or b"")))
        for header, batch in batches:
            offset = header.next_offset
            if not header.is_control:
                found += [(record.offset, record.key, record.value) for record in decode_batch(batch)[1]]
        if not batches:
            return found


def fill(client: WireClient, topic: str) -> None:
    """Enough to end the segment that holds what was written so far, and the next one."""
    for _ in range(2):
        send(client, topic, (b"filler", b"x" * 500))


def test_the_newest_record_of_each_key_stays_at_its_offset(
    quick_kafka: Cluster, client: WireClient, names: Names
) -> None:
    topic = make_topic(quick_kafka.bootstrap, names("newest"), config=COMPACT)
    send(client, topic, (b"a", b"1"), (b"b", b"1"), (b"a", b"2"))
    send(client, topic, (b"c", b"1"), (b"b", None))
    fill(client, topic)
    wanted: Kept = [(2, b"a", b"2"), (3, b"c", b"1"), (4, b"b", None)]
    eventually(lambda: kept(client, topic)[: len(wanted)] == wanted)
    quick_kafka.kill()
    quick_kafka.restart()
    with WireClient(quick_kafka.bootstrap) as again:
        assert send(again, topic, (b"d", b"1")) == 7
        assert kept(again, topic)[: len(wanted)] == wanted


def test_a_tombstone_goes_after_its_time(quick_kafka: Cluster, client: WireClient, names: Names) -> None:
    topic = make_topic(quick_kafka.bootstrap, names("tombstone"), config=COMPACT | {"delete.retention.ms": "100"})
    send(client, topic, (b"a", b"1"), (b"b", b"1"))
    send(client, topic, (b"a", None))

    def is_gone() -> bool:
        fill(client, topic)  # without anything new neither broker looks again
        return b"a" not in {key for _, key, _ in kept(client, topic)}

    eventually(is_gone)
    assert (1, b"b", b"1") in kept(client, topic)


def test_what_was_aborted_neither_stays_nor_hides_what_is_older(
    quick_kafka: Cluster, client: WireClient, names: Names
) -> None:
    topic = make_topic(quick_kafka.bootstrap, names("aborted"), config=COMPACT)
    send(client, topic, (b"a", b"old"), (b"b", b"old"))
    producer = transactional(quick_kafka.bootstrap, names("tx"))
    for value, commit in ((b"aborted", False), (b"new", True)):
        producer.begin_transaction()
        producer.produce(topic, value, key=b"a", partition=0)
        if not commit:
            producer.produce(topic, value, key=b"b", partition=0)
            producer.flush(40)
        (producer.commit_transaction if commit else producer.abort_transaction)()
    fill(client, topic)
    wanted = {(b"b", b"old"), (b"a", b"new")}
    eventually(lambda: {row[1:] for row in kept(client, topic)} - {(b"filler", b"x" * 500)} == wanted)
    with consumer(quick_kafka.bootstrap, names("g"), isolation_level="read_committed") as reader:
        reader.subscribe([topic])
        read: list[Message] = []
        deadline = time.monotonic() + 40
        while (not read or read[-1].key() != b"filler") and time.monotonic() < deadline:
            message = reader.poll(1)
            if message is not None:
                assert message.error() is None
                read.append(message)
    assert {(message.key(), message.value()) for message in read} >= wanted


def test_young_records_are_not_compacted(quick_kafka: Cluster, client: WireClient, names: Names) -> None:
    young = make_topic(quick_kafka.bootstrap, names("young"), config=COMPACT | {"min.compaction.lag.ms": "3600000"})
    at_once = make_topic(quick_kafka.bootstrap, names("at-once"), config=COMPACT)
    for topic in (young, at_once):
        send(client, topic, (b"a", b"1"))
        send(client, topic, (b"a", b"2"))
        fill(client, topic)
    eventually(lambda: kept(client, at_once)[0][2] == b"2")
    assert [row[2] for row in kept(client, young)[:2]] == [b"1", b"2"]
