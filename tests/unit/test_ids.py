"""Ids are frozen formats: these tests hold literal values, and a changed value is a data migration."""

from __future__ import annotations

import hashlib
import uuid

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tallystick.errors import ConfigurationError
from tallystick.ids import (
    EVENT_ID_HEADER,
    EventId,
    PositionIds,
    TransactionalId,
    body_hash,
    derived_id,
    derived_ids,
    deterministic_id,
    lane_of,
    parse_event_id,
    position_id,
)

FIELD = st.one_of(st.text(max_size=20), st.integers(), st.binary(max_size=20))


def test_an_id_is_the_same_for_ever() -> None:
    event = deterministic_id("usage_event", "cdnow", "CDNOW_sample.txt", "1")
    assert event == "7bf020bd-212f-8596-a0c0-4c6319474cdf"
    assert derived_id(event, "rate", 0) == "b2e845a2-5756-8726-9494-4c6319474cdf"
    assert position_id(cluster_id="c", topic_id="t", partition=3, offset=42) == "04aea964-e74b-80f7-8700-00000000002a"
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
    family = deterministic_id("tallystick.derived.2", parent[:24], other, number)[:24]
    assert derived_id(parent, other, number) == family + parent[24:]
    family = deterministic_id("tallystick.position.2", text, other, 7, number >> 48)[:24]
    assert position_id(cluster_id=text, topic_id=other, partition=7, offset=number) == f"{family}{number % 2**48:012x}"


def test_of_a_foreign_uuid_the_whole_goes_into_what_is_derived() -> None:
    one, other = EventId("0190163d-8694-739b-aea5-966c26f8ad91"), EventId("0190163d-8694-739b-aea5-966c26f8ad92")
    assert derived_id(one, "s", 0) == deterministic_id("tallystick.derived.2", one, "s", 0)
    assert derived_ids([one, other], "s", 0) == [derived_id(one, "s", 0), derived_id(other, "s", 0)]


@given(st.integers(0, 2**63), st.lists(st.integers(0, 10_000), min_size=1, max_size=20, unique=True))
@example(2**48 - 2, [0, 1, 2, 3])
@example(4094, [0, 1, 2, 3])
def test_ids_made_together_are_those_made_alone(start: int, steps: list[int]) -> None:
    ids = PositionIds(cluster_id="c", topic_id="t", partition=1)
    offsets = [start + step for step in sorted(steps)]
    alone = [ids.at(offset) for offset in offsets]
    assert ids.of(offsets) == alone
    assert ids.derived(offsets, "rate", 3) == derived_ids(alone, "rate", 3)
    assert derived_ids(alone, "rate", 3) == [derived_id(one, "rate", 3) for one in alone]
    assert len({*alone, *derived_ids(alone, "rate", 3), *derived_ids(alone, "rate", 4)}) == 3 * len(alone)
    for one in alone:
        assert parse_event_id(one.encode()) == one


def test_offsets_that_do_not_ascend_are_refused() -> None:
    with pytest.raises(ValueError, match="ascend"):
        PositionIds(cluster_id="c", topic_id="t", partition=1).of([2, 1])


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
