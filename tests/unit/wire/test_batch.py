"""Batch headers: read, verified, patched outside of the CRC's range."""

from __future__ import annotations

import pytest

from tallystick.wire.batch import (
    HEADER_BYTES,
    MAX_SEQUENCE,
    MalformedBatch,
    check_crc,
    increment_sequence,
    placed,
    read_header,
)
from tallystick.wire.records import BatchSpec, decode_batch, encode_batch

BATCH = encode_batch([(b"a", b"1"), (b"b", None)], BatchSpec(producer_id=7, producer_epoch=2, base_sequence=5))


def test_a_header_is_61_bytes_and_is_read_field_by_field() -> None:
    header = read_header(BATCH)
    assert HEADER_BYTES == 61
    assert header.size_bytes == len(BATCH)
    assert (header.producer_id, header.producer_epoch, header.base_sequence, header.last_sequence) == (7, 2, 5, 6)
    assert (header.record_count, header.last_offset_delta, header.next_offset) == (2, 1, 2)


def test_placing_a_batch_changes_offset_and_epoch_and_leaves_the_crc_valid() -> None:
    raw = b"".join(placed(read_header(BATCH).at(base_offset=1_000, leader_epoch=3), BATCH))
    header, records = decode_batch(raw)
    assert (header.base_offset, header.partition_leader_epoch, header.crc) == (1_000, 3, read_header(BATCH).crc)
    assert [record.offset for record in records] == [1_000, 1_001]


@pytest.mark.parametrize("at", range(17, len(BATCH)))
def test_a_changed_byte_behind_the_epoch_is_found(at: int) -> None:
    damaged = bytearray(BATCH)
    damaged[at] ^= 0x40
    with pytest.raises(MalformedBatch):
        check_crc(bytes(damaged), 0, read_header(bytes(damaged)))


@pytest.mark.parametrize("size", range(len(BATCH)))
def test_a_batch_cut_short_is_refused(size: int) -> None:
    with pytest.raises(MalformedBatch):
        check_crc(BATCH[:size], 0, read_header(BATCH[:size]))


def test_an_older_magic_is_refused() -> None:
    old = bytearray(BATCH)
    old[16] = 1
    with pytest.raises(MalformedBatch, match="magic is 1"):
        read_header(bytes(old))


def test_sequences_wrap_from_the_largest_to_zero() -> None:
    assert increment_sequence(MAX_SEQUENCE, 1) == 0
    assert increment_sequence(MAX_SEQUENCE - 2, 5) == 2
    assert increment_sequence(4, 3) == 7
