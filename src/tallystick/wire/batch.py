"""The header of a record batch (magic 2), read and patched without touching a record.

Owns: the 61 bytes, the CRC and the sequence arithmetic. Must not know: records inside (``wire.records``), files.

Base offset and partition leader epoch lie before the CRC's range, so a broker sets them and leaves the rest opaque.
Source: the Kafka documentation, "Record Batch"; KIP-98.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from crc32c import crc32c

from tallystick.errors import TallystickError

Batch = bytes | memoryview
"""A memoryview of a request lives as long as the request: what is kept of it is copied."""

HEADER_BYTES: Final = 61
LENGTH_OVERHEAD_BYTES: Final = 12
"""``batch_length`` counts from after itself: base offset and the length lie before."""

MAGIC: Final = 2
NO_PRODUCER_ID: Final = -1
NO_SEQUENCE: Final = -1
MAX_SEQUENCE: Final = 2**31 - 1

COMPRESSION_MASK: Final = 0x07
LOG_APPEND_TIME: Final = 0x08
TRANSACTIONAL: Final = 0x10
CONTROL: Final = 0x20
DELETE_HORIZON: Final = 0x40
"""The base timestamp is the time from which on tombstones and markers may go; set by compaction only (KIP-534)."""
NO_TIMESTAMP: Final = -1

_HEADER: Final = struct.Struct(">qiibIhiqqqhii")
_PLACE: Final = struct.Struct(">qii")
CRC_FROM: Final = 21
_MAGIC_AT: Final = 16
_ATTRIBUTES_LOW_BYTE_AT: Final = 22


class MalformedBatch(TallystickError):
    """These bytes are no record batch of magic 2, or their CRC does not match."""


class ImpossibleOffsets(MalformedBatch):
    """A batch of magic 2 whose offsets cannot be."""


class BatchHeader(NamedTuple):
    """The 61 bytes, field by field, in their order on the wire."""

    base_offset: int
    batch_length: int
    partition_leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp_ms: int
    max_timestamp_ms: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @property
    def size_bytes(self) -> int:
        """The whole batch, from base offset to last record."""
        return self.batch_length + LENGTH_OVERHEAD_BYTES

    @property
    def last_offset(self) -> int:
        return self.base_offset + self.last_offset_delta

    @property
    def next_offset(self) -> int:
        return self.base_offset + self.last_offset_delta + 1

    def at(self, *, base_offset: int, leader_epoch: int) -> BatchHeader:
        """The header of the same batch at its place in a log."""
        return BatchHeader._make((base_offset, self[1], leader_epoch, *self[3:]))

    @property
    def is_transactional(self) -> bool:
        return bool(self.attributes & TRANSACTIONAL)

    @property
    def is_control(self) -> bool:
        return bool(self.attributes & CONTROL)

    @property
    def last_sequence(self) -> int:
        if self.base_sequence == NO_SEQUENCE:
            return NO_SEQUENCE
        return increment_sequence(self.base_sequence, self.last_offset_delta)


def increment_sequence(sequence: int, by: int) -> int:
    """Sequence numbers wrap from 2^31 - 1 to 0."""
    return (sequence + by) & MAX_SEQUENCE


def read_header(buffer: bytes | memoryview, at: int = 0) -> BatchHeader:
    """The header at ``at``; ``MalformedBatch`` unless magic, length and offsets are possible. No CRC check."""
    try:
        header = BatchHeader._make(_HEADER.unpack_from(buffer, at))
    except struct.error:
        raise MalformedBatch(f"{max(len(buffer) - at, 0)} bytes hold no batch header of {HEADER_BYTES}") from None
    if header.magic != MAGIC:
        raise MalformedBatch(f"magic is {header.magic}, not {MAGIC}")
    if header.batch_length < HEADER_BYTES - LENGTH_OVERHEAD_BYTES:
        raise MalformedBatch(f"a batch length of {header.batch_length}")
    if header.last_offset_delta < 0 or header.base_offset < 0:
        raise ImpossibleOffsets(f"offset {header.base_offset} with last offset delta {header.last_offset_delta}")
    return header


def magic_of(batch: Batch) -> int | None:
    """The version of the message format, which lies at the same place in all of them; None in too few bytes."""
    return batch[_MAGIC_AT] if len(batch) > _MAGIC_AT else None


def codec_of(batch: Batch) -> int:
    """The compression codec alone; 0 for what is too short to have one."""
    return batch[_ATTRIBUTES_LOW_BYTE_AT] & COMPRESSION_MASK if len(batch) >= HEADER_BYTES else 0


def is_transactional(batch: Batch) -> bool:
    """The transactional bit alone, for who must ask every batch; False for what is too short to have one."""
    return len(batch) >= HEADER_BYTES and bool(batch[_ATTRIBUTES_LOW_BYTE_AT] & TRANSACTIONAL)


def check_crc(buffer: bytes | memoryview, at: int, header: BatchHeader) -> None:
    """``MalformedBatch`` unless the batch at ``at`` is whole and its CRC-32C matches."""
    end = at + header.size_bytes
    if end > len(buffer):
        raise MalformedBatch(f"the batch has {header.size_bytes} bytes, {len(buffer) - at} are there")
    actual = crc32c(memoryview(buffer)[at + CRC_FROM : end])
    if actual != header.crc:
        raise MalformedBatch(f"CRC is {actual:#010x}, the header says {header.crc:#010x}")


def placed(header: BatchHeader, batch: Batch) -> list[bytes | memoryview]:
    """The batch at the place in a log that its header tells, as buffers for ``writev``: opaque bytes are not copied."""
    return [
        _PLACE.pack(header.base_offset, header.batch_length, header.partition_leader_epoch),
        memoryview(batch)[_PLACE.size :],
    ]


def write_batch(header: BatchHeader, records: Batch) -> bytes:
    """A batch of this header and these encoded records, with length and CRC computed."""
    raw = bytearray(_HEADER.pack(*header))
    raw += records
    struct.pack_into(">i", raw, 8, len(raw) - LENGTH_OVERHEAD_BYTES)
    struct.pack_into(">I", raw, 17, crc32c(memoryview(raw)[CRC_FROM:]))
    return bytes(raw)
