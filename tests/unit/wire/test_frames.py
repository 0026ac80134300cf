"""Frames and headers, by hand against kio."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.wire import schema
from tallystick.wire.errors import BY_CODE, describe
from tallystick.wire.frames import (
    frame_length,
    is_flexible,
    read_request,
    read_request_header,
    read_response,
    write_request,
    write_response,
)
from tallystick.wire.shapes import MalformedFrame


@pytest.mark.parametrize("version", [0, 1, 3, 4])
@pytest.mark.parametrize("client_id", [None, "", "me"])
def test_a_request_is_read_back_with_its_header(version: int, client_id: str | None) -> None:
    fields = {"client_software_name": "t", "client_software_version": "1"}
    request = schema.request("api_versions", version).ApiVersionsRequest(**fields)
    frame = write_request(5, client_id, request)
    assert frame_length(frame[:4]) == len(frame) - 4
    header = read_request_header(frame[4:])
    assert (header.api_key, header.api_version, header.correlation_id, header.client_id) == (18, version, 5, client_id)
    assert read_request(frame[4:], header) == request


def test_tagged_fields_in_a_request_header_are_skipped() -> None:
    frame = write_request(
        5, "me", schema.request("metadata", 12).MetadataRequest(topics=None, include_topic_authorized_operations=False)
    )[4:]
    at = read_request_header(frame).body_at
    tagged = frame[: at - 1] + b"\x01\x07\x02\xaa\xbb" + frame[at:]
    header = read_request_header(tagged)
    assert header.body_at == at + 4
    assert read_request(tagged, header).topics is None


def test_bytes_after_a_request_are_ignored_as_apache_kafka_does() -> None:
    """librdkafka 2.16 asks for all topics with an int32 where a varint stands."""
    frame = b"\x00\x03\x00\r\x00\x00\x00\x03\x00\x07rdkafka\x00\x00\x00\x00\x00\x01\x00\x00"
    assert read_request(frame, read_request_header(frame)).topics is None


@pytest.mark.parametrize("length", [-1, 0, 7, 1_001])
def test_an_impossible_length_is_refused(length: int) -> None:
    with pytest.raises(MalformedFrame):
        frame_length(length.to_bytes(4, "big", signed=True), max_bytes=1_000)


@given(st.binary(max_size=60))
def test_garbage_is_malformed_and_nothing_worse(garbage: bytes) -> None:
    for key, version in ((0, 11), (1, 12), (3, 0), (3, 12), (18, 3)):
        frame = key.to_bytes(2, "big") + version.to_bytes(2, "big") + garbage
        with contextlib.suppress(MalformedFrame):
            read_request(frame, read_request_header(frame))


def test_an_api_versions_response_has_the_old_header_in_every_version() -> None:
    for version in range(5):
        build = schema.response("api_versions", version)
        from datetime import timedelta

        from tallystick.wire.errors import ErrorCode

        response = build.ApiVersionsResponse(error_code=ErrorCode.none, api_keys=(), throttle_time=timedelta(0))
        frame = write_response(9, response)
        assert read_response(frame[4:], 18, version) == (9, response)


def test_an_unknown_api_is_not_flexible() -> None:
    assert is_flexible(3, 12)
    assert not is_flexible(3, 8)
    assert not is_flexible(9_999, 1)


def test_errors_have_kafkas_names() -> None:
    assert describe(45) == "OUT_OF_ORDER_SEQUENCE_NUMBER (45)"
    assert describe(12_345) == "not a known error (12345)"
    assert BY_CODE[3].retriable
    assert not BY_CODE[45].retriable


def test_fields_of_other_versions_are_dropped_and_unknown_ones_refused() -> None:
    build = schema.response("metadata", 0)
    broker = build.MetadataResponseBroker(node_id=1, host="h", port=2, rack=None)
    assert not hasattr(broker, "rack")
    with pytest.raises(schema.UnknownField, match="hots"):
        build.MetadataResponseBroker(node_id=1, hots="h", port=2)
    with pytest.raises(AttributeError, match="no Broker"):
        _ = build.Broker
    assert schema.response("create_topics", 2).CreatableTopicConfigs(name="n") is None
