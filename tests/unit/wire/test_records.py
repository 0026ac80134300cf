"""Records and markers, encoded and decoded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.wire.batch import MalformedBatch, read_header
from tallystick.wire.compression import CODECS
from tallystick.wire.records import (
    BatchSpec,
    EndTxnMarker,
    decode_batch,
    encode_batch,
    encode_marker,
    iterate_batches,
    read_marker,
    read_varint,
    write_varint,
)

FIELD = st.none() | st.binary(max_size=50)


@given(st.lists(st.tuples(FIELD, FIELD), min_size=1, max_size=20), st.sampled_from(sorted(CODECS)))
def test_what_is_encoded_is_decoded(pairs: list[tuple[bytes | None, bytes | None]], codec: str) -> None:
    batch = encode_batch(pairs, BatchSpec(base_offset=9, compression=codec, timestamp_ms=44))
    header, records = decode_batch(batch)
    assert header.record_count == len(pairs)
    assert [(record.key, record.value) for record in records] == pairs
    assert [record.offset for record in records] == list(range(9, 9 + len(pairs)))
    assert {record.timestamp_ms for record in records} == {44}


@given(st.integers(min_value=-(2**63), max_value=2**63 - 1))
def test_a_varint_is_read_back(value: int) -> None:
    raw = write_varint(value)
    assert read_varint(raw, 0) == (value, len(raw))


@pytest.mark.parametrize("commit", [True, False])
def test_a_marker_is_a_transactional_control_batch_of_78_bytes(commit: bool) -> None:
    raw = encode_marker(producer_id=5, producer_epoch=6, commit=commit, coordinator_epoch=7, now_ms=8)
    header = read_header(raw)
    assert len(raw) == 78
    assert (header.is_control, header.is_transactional, header.base_sequence) == (True, True, -1)
    assert (header.producer_id, header.producer_epoch, header.max_timestamp_ms) == (5, 6, 8)
    assert read_marker(raw) == EndTxnMarker(commit=commit, coordinator_epoch=7)


def test_a_data_batch_is_no_marker() -> None:
    with pytest.raises(MalformedBatch):
        read_marker(encode_batch([(b"k", b"v")], BatchSpec()))


def test_a_torn_last_batch_of_a_fetch_is_left_out() -> None:
    batch = encode_batch([(None, b"v")], BatchSpec())
    assert len(list(iterate_batches(batch * 3))) == 3
    assert len(list(iterate_batches((batch * 3)[:-1]))) == 2


def test_bytes_that_do_not_decompress_are_refused() -> None:
    batch = bytearray(encode_batch([(None, b"v" * 100)], BatchSpec(compression="zstd")))
    body = bytes(batch[61:]).replace(b"\x28\xb5\x2f\xfd", b"\0\0\0\0")
    from tallystick.wire.batch import write_batch

    with pytest.raises(MalformedBatch, match="decompress"):
        decode_batch(write_batch(read_header(bytes(batch)), body))
