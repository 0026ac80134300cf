"""The walk over a request before it is decoded, for every request that kio has a schema of."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from random import Random
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kio.index import load_request_schema
from kio.schema.index import api_key_map, schema_name_map
from kio.static.constants import EntityType
from tests.support.messages import random_message

from tallystick.wire import schema
from tallystick.wire.frames import read_request, read_request_header, write_request
from tallystick.wire.shapes import MAX_TEXT_BYTES, MalformedFrame, checked_body, unsigned_varint, write_unsigned_varint

REQUESTS: Final = [
    pytest.param(load_request_schema(key, version), id=f"{name}-{version}")
    for key, name in api_key_map.items()
    for version, kinds in schema_name_map[name].items()
    if EntityType.request in kinds
]
MANY: Final = 2**31 - 1


def body_of(message: Any) -> bytes:
    frame = write_request(1, None, message)[4:]
    return frame[read_request_header(frame).body_at :]


@pytest.mark.parametrize("request_type", REQUESTS)
def test_a_request_is_walked_to_its_last_byte_and_no_further(request_type: Any) -> None:
    random = Random(request_type.__api_key__ * 100 + request_type.__version__)
    for _ in range(4):
        body = body_of(random_message(request_type, random, rows=3))
        assert checked_body(body, 0, request_type) == body
        assert checked_body(body + b"\xff\xff", 0, request_type) == body + b"\xff\xff"
        for end in range(len(body)):
            with pytest.raises(MalformedFrame):
                checked_body(body[:end], 0, request_type)


@pytest.mark.parametrize("request_type", REQUESTS)
def test_what_is_refused_by_the_walk_or_decodes_raises_nothing_else(request_type: Any) -> None:
    random = Random(request_type.__api_key__ * 100 + request_type.__version__)
    for _ in range(20):
        frame = bytearray(write_request(1, None, random_message(request_type, random))[4:])
        header = read_request_header(bytes(frame))
        for _ in range(random.randint(1, 4)):
            frame[random.randrange(header.body_at, len(frame) + 1) - 1] = random.choice((0, 1, 0x7F, 0x80, 0xFF))
        with contextlib.suppress(MalformedFrame):
            read_request(bytes(frame), header)


@pytest.mark.parametrize("version", [0, 1, 5, 9, 12, 13])
@pytest.mark.parametrize("count", [MANY, 2**28, 2**20])
def test_a_list_that_says_it_is_longer_than_its_frame_is_refused_before_room_is_made(version: int, count: int) -> None:
    request_type = load_request_schema(3, version)
    prefix = write_unsigned_varint(count) if request_type.__flexible__ else count.to_bytes(4, "big")
    with pytest.raises(MalformedFrame, match=r"longer than its frame|too many rows"):
        checked_body(prefix + bytes(100), 0, request_type)


@pytest.mark.parametrize(
    ("key", "version", "body"), [(3, 0, b"\xff" * 4), (3, 1, b"\xff\xff\xff\xfe"), (66, 0, b"\0\0\0")]
)
def test_a_list_that_may_not_be_null_is_refused_as_by_apache_kafka(key: int, version: int, body: bytes) -> None:
    with pytest.raises(MalformedFrame, match="null"):
        checked_body(body + bytes(8), 0, load_request_schema(key, version))


def test_the_rows_of_all_lists_count_together() -> None:
    build = schema.request("offset_commit", 8)
    row = build.OffsetCommitRequestPartition(partition_index=0, committed_offset=1, committed_metadata="")
    topics = tuple(build.OffsetCommitRequestTopic(name="t", partitions=(row,) * 3) for _ in range(5))
    body = body_of(
        build.OffsetCommitRequest(group_id="g", generation_id_or_member_epoch=-1, member_id="", topics=topics)
    )
    request_type = load_request_schema(8, 8)
    assert checked_body(body, 0, request_type, max_rows=20) == body
    with pytest.raises(MalformedFrame, match="too many rows"):
        checked_body(body, 0, request_type, max_rows=19)


def test_a_text_has_the_length_that_an_older_version_could_have() -> None:
    request_type = load_request_schema(17, 1)
    assert checked_body(b"\x7f\xff" + bytes(MAX_TEXT_BYTES), 0, request_type)
    heartbeat = load_request_schema(12, 4)
    prefix = write_unsigned_varint(MAX_TEXT_BYTES + 2)
    with pytest.raises(MalformedFrame, match="a text"):
        checked_body(prefix + bytes(MAX_TEXT_BYTES + 100), 0, heartbeat)


def with_tag(body: bytes, *, before: int, tag: int, value: bytes) -> bytes:
    """The body, whose empty list of tagged fields at ``before`` bytes from its end gets one."""
    at = len(body) - before
    assert body[at] == 0
    return body[:at] + b"\x01" + write_unsigned_varint(tag) + write_unsigned_varint(len(value)) + value + body[at + 1 :]


def test_a_tagged_field_that_nobody_knows_is_skipped_wherever_it_stands() -> None:
    build = schema.request("metadata", 12)
    topic = build.MetadataRequestTopic(topic_id=None, name="events")
    message = build.MetadataRequest(
        topics=(topic,), allow_auto_topic_creation=True, include_topic_authorized_operations=False
    )
    body = body_of(message)
    for before in (1, 4):  # behind the whole request, and behind the topic's row
        tagged = with_tag(body, before=before, tag=77, value=b"from the future")
        assert checked_body(tagged, 0, type(message)) == body


def test_a_known_tagged_field_stays_beside_an_unknown_one() -> None:
    build = schema.request("fetch", 15)
    fields = {"min_bytes": 0, "topics": (), "forgotten_topics_data": ()}
    message = build.FetchRequest(cluster_id="here", max_wait=timedelta(0), **fields)
    body = body_of(message)
    assert body[-8:] == b"\x01\x00\x05\x05here"
    tagged = body[:-8] + b"\x02" + body[-7:] + b"\x63\x00"
    assert checked_body(tagged, 0, type(message)) == body


def test_a_known_tagged_field_of_another_length_is_refused() -> None:
    body = bytes(21) + b"\x01\x01\x01" + b"\x01\x00\x06\x05here\x00"
    with pytest.raises(MalformedFrame, match="not what its schema says"):
        checked_body(body, 0, load_request_schema(1, 15))


@given(st.integers(0, 2**35 - 1))
def test_an_unsigned_varint_is_read_back(value: int) -> None:
    raw = write_unsigned_varint(value)
    assert unsigned_varint(b"\xff" + raw, 1) == (value, 1 + len(raw))


def test_a_number_that_does_not_end_is_refused() -> None:
    with pytest.raises(MalformedFrame):
        unsigned_varint(b"\xff" * 9, 0)


@pytest.mark.parametrize("key", [0, 3])
def test_very_many_tagged_fields_are_refused_and_not_stepped_over(key: int) -> None:
    many = write_unsigned_varint(40_000_000) + bytes(100)
    in_header = key.to_bytes(2, "big") + b"\0\x0c\0\0\0\x01\xff\xff" + many
    with pytest.raises(MalformedFrame, match="tagged fields in one place"):
        read_request_header(in_header)
    message = random_message(load_request_schema(key, 12), Random(1))
    frame = write_request(1, None, message)[4:]
    assert frame[-1] == 0
    with pytest.raises(MalformedFrame, match="tagged fields in one place"):
        read_request(frame[:-1] + many, read_request_header(frame))
