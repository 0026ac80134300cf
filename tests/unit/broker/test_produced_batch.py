"""What a client's batch must be like, and which batches stay opaque."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.batches import Record, hand_made

from tallystick.broker.limits import MAX_RECORD_ERRORS
from tallystick.broker.produced_batch import (
    RecordsRefused,
    as_stored,
    checked_header,
    is_stored_as_sent,
    may_be_stored_as_sent,
)
from tallystick.broker.topic_configs import TopicConfig
from tallystick.broker.unpacking import Unpacking
from tallystick.wire.batch import HEADER_BYTES, LOG_APPEND_TIME, BatchHeader, check_crc
from tallystick.wire.compression import MAX_DECOMPRESSED_BYTES
from tallystick.wire.errors import ApiError, ErrorCode

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
DEFAULTS = TopicConfig()


def stored(batch: bytes, config: TopicConfig = DEFAULTS) -> tuple[BatchHeader, bytes | memoryview]:
    header = checked_header(batch, config)
    return as_stored(header, batch, config=config, now_ms=NOW_MS, partition="t-0", unpacking=Unpacking())


@pytest.mark.parametrize(
    "config", [DEFAULTS, TopicConfig(compression_type="uncompressed"), TopicConfig(message_timestamp_after_max_ms=0)]
)
def test_a_batch_that_needs_no_look_is_stored_as_it_came_and_its_records_are_not_read(config: TopicConfig) -> None:
    batch = hand_made(base_timestamp_ms=NOW_MS, body=b"no records at all")
    assert stored(batch, config)[1] is batch


@pytest.mark.parametrize(
    "config",
    [
        TopicConfig(cleanup_policy=("delete", "compact")),
        TopicConfig(message_timestamp_before_max_ms=1000),
        TopicConfig(compression_type="gzip", cleanup_policy=("compact",)),
    ],
)
def test_a_topic_that_asks_for_it_reads_every_record(config: TopicConfig) -> None:
    with pytest.raises(ApiError) as refused:
        stored(hand_made(base_timestamp_ms=NOW_MS, body=b"no records at all"), config)
    assert refused.value.code is ErrorCode.invalid_record


def test_the_checksum_is_right_after_every_change() -> None:
    config = TopicConfig(message_timestamp_type="LogAppendTime", compression_type="zstd")
    header, batch = stored(hand_made([Record(value=bytes(1000))], base_timestamp_ms=5), config)
    check_crc(batch, 0, header)
    assert header.max_timestamp_ms == NOW_MS
    assert header.attributes == LOG_APPEND_TIME | 4
    assert header.size_bytes == len(batch) < 1000


def test_a_body_may_not_decompress_to_more_than_the_bound() -> None:
    batch = hand_made([Record(value=bytes(MAX_DECOMPRESSED_BYTES))], compression="zstd", base_timestamp_ms=NOW_MS)
    assert len(batch) < 10_000
    with pytest.raises(ApiError) as refused:
        stored(batch)
    assert refused.value.code is ErrorCode.message_too_large


def test_as_many_wrong_records_are_named_as_the_bound_says() -> None:
    with pytest.raises(RecordsRefused) as refused:
        stored(hand_made([Record()] * (MAX_RECORD_ERRORS + 1)), TopicConfig(cleanup_policy=("compact",)))
    assert [row.batch_index for row in refused.value.record_errors] == list(range(MAX_RECORD_ERRORS))
    assert f"{MAX_RECORD_ERRORS + 1} record errors in total" in refused.value.message


def test_offset_deltas_are_checked_where_records_are_read() -> None:
    batch = hand_made([Record(key=b"k", offset_delta=1)], base_timestamp_ms=NOW_MS)
    assert stored(batch)[1] is batch
    with pytest.raises(ApiError, match="offset delta 1 where 0 is due"):
        stored(batch, TopicConfig(cleanup_policy=("compact",)))


def test_a_client_cannot_set_the_delete_horizon() -> None:
    header, _ = stored(hand_made(attributes=0x40, base_timestamp_ms=NOW_MS))
    assert header.attributes == 0


def test_the_default_look_goes_by_the_header() -> None:
    ahead = [Record(timestamp_delta_ms=2 * HOUR_MS)]
    with pytest.raises(RecordsRefused) as refused:
        stored(hand_made(ahead, base_timestamp_ms=NOW_MS))
    assert refused.value.code is ErrorCode.invalid_timestamp
    hidden = hand_made(ahead, base_timestamp_ms=NOW_MS, max_timestamp_ms=NOW_MS)
    assert stored(hidden)[1] is hidden


@given(st.binary(max_size=200), st.sampled_from(["none", "gzip", "snappy", "lz4", "zstd"]), st.integers(1, 5))
def test_no_body_brings_the_checks_down(body: bytes, codec: str, count: int) -> None:
    batch = hand_made([Record()] * count, compression=codec, body=body, base_timestamp_ms=NOW_MS)
    for config in (DEFAULTS, TopicConfig(cleanup_policy=("compact",), compression_type="lz4")):
        try:
            header, result = stored(batch, config)
        except ApiError:
            continue
        check_crc(result, 0, header)
        assert len(result) >= HEADER_BYTES


@given(
    st.sampled_from(
        [
            DEFAULTS,
            TopicConfig(compression_type="uncompressed"),
            TopicConfig(compression_type="gzip"),
            TopicConfig(cleanup_policy=("compact",)),
            TopicConfig(message_timestamp_type="LogAppendTime"),
            TopicConfig(message_timestamp_before_max_ms=HOUR_MS),
            TopicConfig(message_timestamp_after_max_ms=0),
        ]
    ),
    st.sampled_from([0, NOW_MS, NOW_MS + 1, NOW_MS + HOUR_MS, NOW_MS + HOUR_MS + 1]),
    st.sampled_from([0, 8, 64]),
)
def test_what_is_stored_as_sent_in_short_is_stored_as_sent_at_length(
    config: TopicConfig, timestamp_ms: int, attributes: int
) -> None:
    batch = hand_made(base_timestamp_ms=timestamp_ms, attributes=attributes, body=b"no records at all")
    header = checked_header(batch, config)
    if may_be_stored_as_sent(config) and is_stored_as_sent(header, config, NOW_MS):
        assert stored(batch, config) == (header, batch)
