"""What a batch must be like to be written: hand-made batches, on our broker and on Apache Kafka."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from tests.support.batches import Record, fetch_raw, hand_made, produce_raw
from tests.support.brokers import Cluster, Names
from tests.support.clients import make_topic, read_all
from tests.support.wire import WireClient

from tallystick.wire.batch import LOG_APPEND_TIME
from tallystick.wire.compression import CODECS, compress
from tallystick.wire.records import decode_batch, iterate_batches

HOUR_MS = 3_600_000
CODEC_NAMES = sorted(set(CODECS) - {"none"})


@pytest.fixture
def client(kafka: Cluster) -> Iterator[WireClient]:
    with WireClient(kafka.bootstrap) as connected:
        yield connected


def legacy(magic: int) -> bytes:
    """A message of format 0 or 1, as far as it is looked at: offset, size, CRC, magic."""
    return bytes(8) + (22).to_bytes(4, "big") + bytes(4) + bytes([magic]) + bytes(17)


def now_ms() -> int:
    return int(time.time() * 1000)


def as_ms(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.replace(tzinfo=UTC).timestamp() * 1000)


GOOD = hand_made()


@pytest.mark.parametrize(
    ("error", "batch"),
    [
        pytest.param("invalid_record", b"", id="no bytes"),
        pytest.param("invalid_record", GOOD[:40], id="less than a header"),
        pytest.param("invalid_record", GOOD[:-1], id="a batch that is cut short"),
        pytest.param("invalid_record", GOOD + GOOD, id="two batches"),
        pytest.param("invalid_record", legacy(0), id="message format 0"),
        pytest.param("invalid_record", legacy(1), id="message format 1"),
        pytest.param("corrupt_message", hand_made(magic=3), id="magic 3"),
        pytest.param("corrupt_message", hand_made(magic=-1), id="magic -1"),
        pytest.param("corrupt_message", hand_made(batch_length=3), id="an impossible length"),
        pytest.param("corrupt_message", hand_made(crc=5), id="a wrong checksum"),
        pytest.param("invalid_record", hand_made(base_offset=5), id="a base offset"),
        pytest.param("invalid_record", hand_made([], last_offset_delta=0), id="no records"),
        pytest.param("invalid_record", hand_made([]), id="no records and no offsets"),
        pytest.param("invalid_record", hand_made(record_count=-1), id="a negative count"),
        pytest.param("invalid_record", hand_made(record_count=2), id="more records than offsets"),
        pytest.param("invalid_record", hand_made(attributes=0x20), id="a control batch"),
        pytest.param("invalid_record", hand_made(producer_id=5, producer_epoch=0), id="a producer without sequence"),
        *(
            pytest.param(
                "invalid_record",
                hand_made([Record()] * 3, compression=codec, record_count=count, last_offset_delta=count - 1),
                id=f"3 records in {codec}, counted as {count}",
            )
            for codec in CODEC_NAMES
            for count in (2, 4)
        ),
    ],
)
def test_a_batch_that_is_not_right_is_refused_and_nothing_is_written(
    client: WireClient, kafka: Cluster, names: Names, error: str, batch: bytes
) -> None:
    topic = make_topic(kafka.bootstrap, names("wrong"))
    row = produce_raw(client, topic, batch)
    assert (row.error_code.name, row.base_offset) == (error, -1)
    assert produce_raw(client, topic, GOOD).base_offset == 0


@pytest.mark.parametrize("codec", CODEC_NAMES)
def test_bytes_that_do_not_decompress_are_refused(client: WireClient, kafka: Cluster, names: Names, codec: str) -> None:
    topic = make_topic(kafka.bootstrap, names("junk"))
    junk = hand_made(compression=codec, body=b"this is no compressed body at all, is it")
    # Apache Kafka has no code for it: a producer would not know whether to try again.
    expected = "unknown_server_error" if kafka.name == "apache" else "invalid_record"
    assert produce_raw(client, topic, junk).error_code.name == expected
    assert produce_raw(client, topic, hand_made(compression=codec)).base_offset == 0


def test_a_codec_that_does_not_exist_is_refused(client: WireClient, kafka: Cluster, names: Names) -> None:
    topic = make_topic(kafka.bootstrap, names("codec"))
    expected = "unknown_server_error" if kafka.name == "apache" else "invalid_record"
    assert produce_raw(client, topic, hand_made(attributes=5)).error_code.name == expected


@pytest.mark.parametrize(("version", "error"), [(3, "unsupported_compression_type"), (7, "none")])
def test_zstd_is_taken_from_version_7_on(
    client: WireClient, kafka: Cluster, names: Names, version: int, error: str
) -> None:
    topic = make_topic(kafka.bootstrap, names("zstd"))
    assert produce_raw(client, topic, hand_made(compression="zstd"), version=version).error_code.name == error


def test_a_record_without_key_is_named_and_refused_by_a_compacted_topic(
    client: WireClient, kafka: Cluster, names: Names
) -> None:
    topic = make_topic(kafka.bootstrap, names("compacted"), config={"cleanup.policy": "compact"})
    row = produce_raw(client, topic, hand_made([Record(key=b"k"), Record(), Record(key=b""), Record()]))
    assert row.error_code.name == "invalid_record"
    text = f"Compacted topic cannot accept message without key in topic partition {topic}-0"
    assert [(wrong.batch_index, wrong.batch_index_error_message) for wrong in row.record_errors] == [
        (1, text),
        (3, text),
    ]
    assert row.error_message.startswith("One or more records have been rejected due to 2 record errors in total")
    assert produce_raw(client, topic, hand_made([Record(key=b"k")])).error_code.name == "none"


@pytest.mark.parametrize("codec", ["none", "gzip"])
def test_records_of_another_time_are_named_and_refused(
    client: WireClient, kafka: Cluster, names: Names, codec: str
) -> None:
    topic = make_topic(kafka.bootstrap, names("times"), config={"message.timestamp.before.max.ms": "60000"})
    records = [Record(), Record(timestamp_delta_ms=-HOUR_MS), Record(timestamp_delta_ms=2 * HOUR_MS)]
    row = produce_raw(client, topic, hand_made(records, compression=codec))
    assert row.error_code.name == "invalid_timestamp"
    assert row.error_message == "One or more records have been rejected due to invalid timestamp"
    assert [wrong.batch_index for wrong in row.record_errors] == [1, 2]
    assert all("is out of range. The timestamp should be within [" in w.batch_index_error_message
               for w in row.record_errors)  # fmt: skip


def test_a_time_more_than_an_hour_ahead_is_refused_and_any_of_the_past_is_taken(
    client: WireClient, kafka: Cluster, names: Names
) -> None:
    topic = make_topic(kafka.bootstrap, names("ahead"))
    for ahead_ms, error in ((2 * HOUR_MS, "invalid_timestamp"), (HOUR_MS // 2, "none"), (-(10**12), "none")):
        batch = hand_made(base_timestamp_ms=now_ms() + ahead_ms)
        assert produce_raw(client, topic, batch).error_code.name == error
    assert produce_raw(client, topic, hand_made(base_timestamp_ms=-1)).error_code.name == "none"


def test_a_largest_time_that_no_record_has_is_put_right(client: WireClient, kafka: Cluster, names: Names) -> None:
    topic = make_topic(kafka.bootstrap, names("largest"))
    base_ms = now_ms()
    batch = hand_made(base_timestamp_ms=base_ms, max_timestamp_ms=base_ms + 10**9)
    assert produce_raw(client, topic, batch).error_code.name == "none"
    ((header, _),) = iterate_batches(bytes(fetch_raw(client, topic).records))
    assert header.max_timestamp_ms == base_ms


@pytest.mark.parametrize("codec", ["none", "gzip"])
def test_log_append_time_puts_the_brokers_time_into_a_batch_and_its_answer(
    client: WireClient, kafka: Cluster, names: Names, codec: str
) -> None:
    topic = make_topic(kafka.bootstrap, names("appended"), config={"message.timestamp.type": "LogAppendTime"})
    before_ms = now_ms()
    row = produce_raw(
        client, topic, hand_made([Record(), Record()], compression=codec, base_timestamp_ms=before_ms + 10 * HOUR_MS)
    )
    appended_ms = as_ms(row.log_append_time)
    assert row.error_code.name == "none"
    assert appended_ms is not None
    assert before_ms <= appended_ms <= now_ms()
    ((header, batch),) = iterate_batches(bytes(fetch_raw(client, topic).records))
    assert header.attributes == LOG_APPEND_TIME | CODECS[codec]
    assert header.max_timestamp_ms == appended_ms
    assert [record.timestamp_ms for record in decode_batch(batch)[1]] == [appended_ms] * 2


def test_a_producer_may_not_claim_the_brokers_time(client: WireClient, kafka: Cluster, names: Names) -> None:
    claimed = hand_made(attributes=LOG_APPEND_TIME)
    topic = make_topic(kafka.bootstrap, names("claimed"), config={"message.timestamp.type": "LogAppendTime"})
    row = produce_raw(client, topic, claimed)
    assert row.error_code.name == "invalid_timestamp"
    assert "Producer should not set timestamp type to LogAppendTime" in row.record_errors[0].batch_index_error_message
    topic = make_topic(kafka.bootstrap, names("claimed"))
    assert produce_raw(client, topic, claimed).error_code.name == "none"
    ((header, _),) = iterate_batches(bytes(fetch_raw(client, topic).records))
    assert header.attributes == 0


@pytest.mark.parametrize("timestamp_type", ["CreateTime", "LogAppendTime"])
def test_a_duplicate_is_answered_with_the_place_and_time_of_the_original(
    client: WireClient, kafka: Cluster, names: Names, timestamp_type: str
) -> None:
    topic = make_topic(kafka.bootstrap, names("again"), config={"message.timestamp.type": timestamp_type})
    batch = hand_made(producer_id=77, producer_epoch=0, base_sequence=0)
    produce_raw(client, topic, GOOD)
    first, again = (produce_raw(client, topic, batch) for _ in range(2))
    assert (again.error_code.name, again.base_offset) == ("none", first.base_offset)
    ((_, _), (header, _)) = iterate_batches(bytes(fetch_raw(client, topic).records))
    assert as_ms(again.log_append_time) == header.max_timestamp_ms


@pytest.mark.parametrize("target", ["uncompressed", "gzip", "snappy", "lz4", "zstd"])
@pytest.mark.parametrize("source", ["none", "gzip", "zstd"])
def test_a_topic_stores_batches_in_its_own_codec(
    client: WireClient, kafka: Cluster, names: Names, source: str, target: str
) -> None:
    topic = make_topic(kafka.bootstrap, names("target"), config={"compression.type": target})
    values = [b"%d" % number * 50_000 for number in range(3)]
    row = produce_raw(client, topic, hand_made([Record(value=value) for value in values], compression=source))
    assert row.error_code.name == "none"
    ((header, batch),) = iterate_batches(bytes(fetch_raw(client, topic).records))
    assert header.attributes == CODECS["none" if target == "uncompressed" else target]
    assert [record.value for record in decode_batch(batch)[1]] == values
    assert read_all(kafka.bootstrap, topic) == values


def test_a_batch_may_have_as_many_bytes_as_max_message_bytes(client: WireClient, kafka: Cluster, names: Names) -> None:
    batch = hand_made([Record(value=b"x" * 200)])
    exact = make_topic(kafka.bootstrap, names("size"), config={"max.message.bytes": str(len(batch))})
    less = make_topic(kafka.bootstrap, names("size"), config={"max.message.bytes": str(len(batch) - 1)})
    assert produce_raw(client, exact, batch).error_code.name == "none"
    assert produce_raw(client, less, batch).error_code.name == "message_too_large"


def test_a_batch_that_grows_over_the_limit_when_it_is_stored_is_refused(
    client: WireClient, kafka: Cluster, names: Names
) -> None:
    config = {"max.message.bytes": "500", "compression.type": "uncompressed"}
    topic = make_topic(kafka.bootstrap, names("grows"), config=config)
    assert produce_raw(client, topic, hand_made([Record(value=b"x" * 600)], compression="gzip")).error_code.name == (
        "message_too_large"
    )


def test_a_batch_must_fit_into_a_segment(client: WireClient, kafka: Cluster, names: Names) -> None:
    config = {"max.message.bytes": "9000000", "segment.bytes": "1048576"}
    topic = make_topic(kafka.bootstrap, names("segment"), config=config)
    assert produce_raw(client, topic, hand_made([Record(value=bytes(1_048_576))])).error_code.name == (
        "record_list_too_large"
    )


@pytest.mark.parametrize("codec", CODEC_NAMES)
def test_a_body_of_our_compression_is_read_by_the_client_library(
    client: WireClient, kafka: Cluster, names: Names, codec: str
) -> None:
    topic = make_topic(kafka.bootstrap, names("body"))
    values = [b"", b"a" * 200_000, bytes(range(256)) * 10]
    records = b"".join(Record(value=value).encode(place) for place, value in enumerate(values))
    batch = hand_made([Record()] * 3, compression=codec, body=compress(CODECS[codec], records))
    assert produce_raw(client, topic, batch).error_code.name == "none"
    assert read_all(kafka.bootstrap, topic) == values
