"""Rows in their short form, held against the same rows of kio's in every version."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from kio.index import load_response_schema
from kio.serial import entity_writer

from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode
from tallystick.wire.short_rows import Fetched, Parts, Produced
from tallystick.wire.writers import writer_of

NO_TIME = timedelta(0)


def written(message: Any) -> bytes:
    parts: Parts = []
    writer_of(message.__class__)(parts, message)
    return b"".join(parts)


def written_by_kio(message: Any) -> bytes:
    buffer = io.BytesIO()
    entity_writer(message.__class__)(buffer, message)
    return buffer.getvalue()


def topic(version: int, first_with_ids: int, name: str) -> dict[str, Any]:
    return {"topic_id": None} if version >= first_with_ids else {name: "orders"}


@pytest.mark.parametrize("version", range(3, 14))
def test_a_written_batch_is_told_in_the_bytes_that_kio_writes(version: int) -> None:
    build = schema.response("produce", version)
    random = Random(version)

    def response(rows: list[Any]) -> Any:
        one = build.TopicProduceResponse(**topic(version, 13, "name"), partition_responses=tuple(rows))
        return build.ProduceResponse(responses=(one,), throttle_time=NO_TIME)

    def refused() -> Any:
        return build.PartitionProduceResponse(
            index=7,
            error_code=ErrorCode.invalid_record,
            base_offset=-1,
            log_append_time=None,
            log_start_offset=-1,
            record_errors=(),
            error_message="no records",
        )

    for append_time_ms in (-1, 1_700_000_000_123):
        numbers = [random.choice((0, 1, 2**31 - 1)), random.choice((0, 2**63 - 1)), random.choice((0, 5, 2**62))]
        short = Produced(numbers[0], numbers[1], append_time_ms, numbers[2])
        moment = None if append_time_ms == -1 else datetime.fromtimestamp(append_time_ms / 1000, tz=UTC)
        full = build.PartitionProduceResponse(
            index=numbers[0],
            error_code=ErrorCode.none,
            base_offset=numbers[1],
            log_append_time=moment,
            log_start_offset=numbers[2],
            record_errors=(),
            error_message=None,
        )
        assert written(response([short, refused(), short])) == written_by_kio(response([full, refused(), full]))


@pytest.mark.parametrize("aborted", [None, ()], ids=["plain", "read_committed"])
@pytest.mark.parametrize("version", range(4, 19))
def test_what_was_read_is_told_in_the_bytes_that_kio_writes(version: int, aborted: tuple[()] | None) -> None:
    build = schema.response("fetch", version)
    random = Random(version)

    def response(rows: list[Any]) -> Any:
        one = build.FetchableTopicResponse(**topic(version, 13, "topic"), partitions=tuple(rows))
        return build.FetchResponse(throttle_time=NO_TIME, error_code=ErrorCode.none, session_id=0, responses=(one,))

    def failed() -> Any:
        return build.PartitionData(
            partition_index=7,
            error_code=ErrorCode.offset_out_of_range,
            high_watermark=-1,
            aborted_transactions=None,
            records=b"",
        )

    for size in (0, 1, 126, 127, 128, 20_000, 70_000):
        index, high_watermark, last_stable_offset, log_start_offset = (random.choice((0, 1, 2**31 - 1)) for _ in "four")
        records = random.randbytes(size)
        short = Fetched(index, high_watermark, last_stable_offset, log_start_offset, records, aborted)
        full = build.PartitionData(
            partition_index=index,
            error_code=ErrorCode.none,
            high_watermark=high_watermark,
            last_stable_offset=last_stable_offset,
            log_start_offset=log_start_offset,
            aborted_transactions=aborted,
            records=records,
        )
        assert written(response([short, failed(), short])) == written_by_kio(response([full, failed(), full]))


@pytest.mark.parametrize(
    ("short", "key", "row"), [(Produced, 0, "PartitionProduceResponse"), (Fetched, 1, "PartitionData")]
)
def test_a_short_row_has_fields_of_the_rows_that_it_stands_for(short: Any, key: int, row: str) -> None:
    version = {0: 12, 1: 18}[key]
    names = set(schema.response({0: "produce", 1: "fetch"}[key], version)._module.__dict__[row].__dataclass_fields__)
    assert load_response_schema(key, version)
    assert {"error_code", *short.__struct_fields__} - {"log_append_time_ms"} <= names
