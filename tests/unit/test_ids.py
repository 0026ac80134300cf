"""Ids are frozen formats: these tests hold literal values, and a changed value is a data migration."""

from __future__ import annotations

import hashlib
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import ConfigurationError
from tallystick.ids import (
    EVENT_ID_HEADER,
    TransactionalId,
    body_hash,
    derived_id,
    deterministic_id,
    lane_of,
    parse_event_id,
    position_id,
)

FIELD = st.one_of(st.text(max_size=20), st.integers(), st.binary(max_size=20))


def test_an_id_is_the_same_for_ever() -> None:
    event = deterministic_id("usage_event", "cdnow", "CDNOW_sample.txt", "1")
    assert event == "7bf020bd-212f-8596-a0c0-4c6319474cdf"
    assert derived_id(event, "rate", 0) == "80aa3685-6ebb-81cd-a3e2-ae77d623c661"
    assert position_id(cluster_id="c", topic_id="t", partition=3, offset=42) == "8c2ab066-37bc-80be-8436-bef63615cff3"
    assert EVENT_ID_HEADER == "tallystick-event-id"
    assert body_hash(b"") == "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8"


@given(st.lists(FIELD, max_size=4), st.lists(FIELD, max_size=4))
def test_two_different_field_lists_never_share_an_id(
    one: list[str | int | bytes], other: list[str | int | bytes]
) -> None:
    same = [(type(f), f) for f in one] == [(type(f), f) for f in other]
    assert (deterministic_id("d", *one) == deterministic_id("d", *other)) == same


@given(st.lists(FIELD, max_size=4))
def test_an_id_is_a_canonical_version_8_uuid(fields: list[str | int | bytes]) -> None:
    event = deterministic_id("d", *fields)
    parsed = uuid.UUID(event)
    assert parsed.version == 8
    assert parsed.variant == uuid.RFC_4122
    assert parse_event_id(event.encode()) == event


@given(st.text(max_size=50), st.text(max_size=20), st.integers(0, 2**63))
def test_derived_and_position_ids_are_what_the_definition_says(text: str, other: str, number: int) -> None:
    parent = deterministic_id("d", text)
    assert derived_id(parent, other, number) == deterministic_id("tallystick.derived", parent, other, number)
    assert position_id(cluster_id=text, topic_id=other, partition=7, offset=number) == deterministic_id(
        "tallystick.position", text, other, 7, number
    )


def test_the_definition_is_a_hash_of_length_prefixed_fields_with_the_bits_of_version_8() -> None:
    encoded = b"d\0\0\0\1x" + b"s\0\0\0\2ab" + b"i\0\0\0\2-7" + b"b\0\0\0\1\xff"
    raw = bytearray(hashlib.blake2b(encoded, digest_size=16).digest())
    raw[6], raw[8] = (raw[6] & 0x0F) | 0x80, (raw[8] & 0x3F) | 0x80
    assert deterministic_id("x", "ab", -7, b"\xff") == str(uuid.UUID(bytes=bytes(raw)))


@pytest.mark.parametrize("raw", [b"", b"not-a-uuid", b"44E7AE2F-78E3-83EE-A9A0-ED32CBE3F1FF", b"\xff"])
def test_a_header_that_is_no_canonical_uuid_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_event_id(raw)


@pytest.mark.parametrize("field", [True, 1.5, None])
def test_a_field_of_another_type_is_refused(field: object) -> None:
    with pytest.raises(TypeError):
        deterministic_id("d", field)  # type: ignore[arg-type]


def test_a_transactional_id_reads_back_as_what_it_was() -> None:
    identity = TransactionalId(application="billing", group="billing.rate", slot="worker-0", lane=2)
    assert str(identity) == "billing/billing.rate/worker-0/2"
    assert TransactionalId.parse(str(identity)) == identity


@pytest.mark.parametrize("text", ["", "a/b/c", "a/b/c/d", "a/b/c/-1", "a/b//1", "a/b/c/1/2"])
def test_a_text_that_is_no_transactional_id_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="rule 5"):
        TransactionalId.parse(text)


def test_co_partitioned_topics_share_a_lane() -> None:
    assert [lane_of(partition, 3) for partition in range(7)] == [0, 1, 2, 0, 1, 2, 0]
