"""Records inside a batch, encoded and decoded: for markers, look-ups by time, tools and tests.

Owns: varints, record framing, control records. Must not know: files, producers' state, how codecs work. The broker's
hot path never comes here.

Source: the Kafka documentation, "Record" and "Control Batches"; KIP-98 for the transaction marker.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tallystick.wire.batch import (
    COMPRESSION_MASK,
    CONTROL,
    HEADER_BYTES,
    LOG_APPEND_TIME,
    MAGIC,
    NO_PRODUCER_ID,
    NO_SEQUENCE,
    TRANSACTIONAL,
    Batch,
    BatchHeader,
    MalformedBatch,
    check_crc,
    read_header,
    write_batch,
)
from tallystick.wire.compression import CODECS, compress, decompress

SHORTEST_RECORD_BYTES: Final = 7
"""Its length, attributes, time stamp, offset, no key, no value, no headers: a byte each."""
_VARINT_MORE: Final = 0x80
_MARKER_KEY: Final = struct.Struct(">hh")
_MARKER_VALUE: Final = struct.Struct(">hi")


@dataclass(frozen=True, slots=True)
class WireRecord:
    """One record of a batch, with its absolute offset and timestamp."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


@dataclass(frozen=True, slots=True)
class EndTxnMarker:
    """The content of a transaction marker."""

    commit: bool
    coordinator_epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSpec:
    """Everything about a batch to be encoded that is not in its records."""

    base_offset: int = 0
    producer_id: int = NO_PRODUCER_ID
    producer_epoch: int = -1
    base_sequence: int = NO_SEQUENCE
    transactional: bool = False
    control: bool = False
    compression: str = "none"
    timestamp_ms: int = 0
    leader_epoch: int = field(default=-1)


def encode_batch(values: Iterable[tuple[bytes | None, bytes | None]], spec: BatchSpec) -> bytes:
    """A batch of key-value pairs, all at the spec's timestamp."""
    pairs = list(values)
    body = b"".join(_encode_record(delta, key, value) for delta, (key, value) in enumerate(pairs))
    codec = CODECS[spec.compression]
    attributes = codec | (TRANSACTIONAL if spec.transactional else 0) | (CONTROL if spec.control else 0)
    header = BatchHeader(
        base_offset=spec.base_offset,
        batch_length=0,
        partition_leader_epoch=spec.leader_epoch,
        magic=MAGIC,
        crc=0,
        attributes=attributes,
        last_offset_delta=len(pairs) - 1,
        base_timestamp_ms=spec.timestamp_ms,
        max_timestamp_ms=spec.timestamp_ms,
        producer_id=spec.producer_id,
        producer_epoch=spec.producer_epoch,
        base_sequence=spec.base_sequence,
        record_count=len(pairs),
    )
    return write_batch(header, compress(codec, body))


def encode_marker(*, producer_id: int, producer_epoch: int, commit: bool, coordinator_epoch: int, now_ms: int) -> bytes:
    """A control batch that ends the producer's transaction in one partition."""
    spec = BatchSpec(
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        transactional=True,
        control=True,
        timestamp_ms=now_ms,
    )
    return encode_batch([(_MARKER_KEY.pack(0, int(commit)), _MARKER_VALUE.pack(0, coordinator_epoch))], spec)


def read_marker(batch: bytes | memoryview) -> EndTxnMarker:
    """The marker in a control batch; ``MalformedBatch`` if it is none."""
    header = read_header(batch)
    records = list(decode_records(header, batch[HEADER_BYTES : header.size_bytes]))
    if not header.is_control or len(records) != 1 or records[0].key is None or records[0].value is None:
        raise MalformedBatch("a control batch holds exactly one record, with key and value")
    try:
        _, kind = _MARKER_KEY.unpack_from(records[0].key)
        _, coordinator_epoch = _MARKER_VALUE.unpack_from(records[0].value)
    except struct.error:
        raise MalformedBatch("the control record is too short for a transaction marker") from None
    if kind not in (0, 1):
        raise MalformedBatch(f"control record type {kind} is no transaction marker")
    return EndTxnMarker(commit=kind == 1, coordinator_epoch=coordinator_epoch)


def iterate_batches(buffer: Batch) -> Iterator[tuple[BatchHeader, bytes]]:
    """Whole, verified batches of a fetch response's bytes; a torn last one is left out, as clients do."""
    at = 0
    while at + HEADER_BYTES <= len(buffer):
        header = read_header(buffer, at)
        if at + header.size_bytes > len(buffer):
            return
        check_crc(buffer, at, header)
        yield header, bytes(buffer[at : at + header.size_bytes])
        at += header.size_bytes


def decode_batch(batch: bytes) -> tuple[BatchHeader, tuple[WireRecord, ...]]:
    """Header and records of one whole batch; its CRC is checked."""
    header = read_header(batch)
    check_crc(batch, 0, header)
    return header, tuple(decode_records(header, batch[HEADER_BYTES : header.size_bytes]))


def decode_records(header: BatchHeader, body: bytes | memoryview) -> Iterator[WireRecord]:
    """The records of a batch's body, decompressed if need be."""
    data = decompress(header.attributes & COMPRESSION_MASK, bytes(body))
    appended_ms = header.max_timestamp_ms if header.attributes & LOG_APPEND_TIME else None
    for span in record_spans(data, header.record_count):
        created_ms = span.timestamp_ms(header)
        yield WireRecord(
            header.base_offset + span.offset_delta,
            created_ms if appended_ms is None else appended_ms,
            span.key,
            None if span.value_at < 0 else data[span.value_at : span.value_end],
            tuple(_headers(data, span.value_end)),
        )


class RecordSpan(NamedTuple):
    """Where one record lies in a decompressed body. ``value_at`` is -1 for a null value (a tombstone)."""

    start: int
    end: int
    timestamp_delta_ms: int
    offset_delta: int
    key: bytes | None
    value_at: int
    value_end: int

    def timestamp_ms(self, header: BatchHeader) -> int:
        """The producer's time. ``MalformedBatch`` if it has more than 64 bits."""
        timestamp_ms = header.base_timestamp_ms + self.timestamp_delta_ms
        if not -(2**63) <= timestamp_ms < 2**63:
            raise MalformedBatch("a record's timestamp has more than 64 bits")
        return timestamp_ms


def record_spans(data: bytes, count: int) -> Iterator[RecordSpan]:
    """Every record of a decompressed body. ``MalformedBatch`` unless exactly ``count`` whole ones fill it."""
    at = 0
    try:
        for _ in range(count):
            start = at
            length, body = read_varint(data, at)
            at = body + length
            if length < 0 or at > len(data):
                raise MalformedBatch("a record is longer than its batch")
            timestamp_delta_ms, place = read_varint(data, body + 1)
            offset_delta, place = read_varint(data, place)
            key_at, place = _field(data, place, at)
            key = None if key_at < 0 else data[key_at:place]
            value_at, place = _field(data, place, at)
            if at - place != 1 or data[place] != 0:  # most records have no headers
                _check_headers(data, place, at)
            yield RecordSpan(start, at, timestamp_delta_ms, offset_delta, key, value_at, place)
    except IndexError:
        raise MalformedBatch("the batch ends inside a record") from None
    if at != len(data):
        raise MalformedBatch(f"{len(data) - at} bytes remain behind the last of {count} records")


def check_framing(data: bytes, count: int) -> None:
    """``MalformedBatch`` unless the lengths of exactly ``count`` records fill a decompressed body.

    Nothing inside the records is looked at: this is what every compressed batch of a client pays.
    """
    if count * SHORTEST_RECORD_BYTES > len(data):
        raise MalformedBatch(f"{len(data)} bytes do not hold {count} records")
    at = 0
    try:
        for _ in range(count):
            byte = data[at]
            if byte < _VARINT_MORE and not byte & 1:
                at += 1 + (byte >> 1)
            elif not byte & 1 and (second := data[at + 1]) < _VARINT_MORE:
                at += 2 + ((byte & 0x7F | second << 7) >> 1)
            else:
                length, at = read_varint(data, at)
                if length < 0:
                    raise MalformedBatch(f"a record of {length} bytes")
                at += length
    except IndexError:
        raise MalformedBatch(f"the batch holds fewer than {count} records") from None
    if at != len(data):
        raise MalformedBatch(f"{count} records need {at} bytes, {len(data)} are there")


def _field(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Where a field's bytes begin, -1 for null, and where they end."""
    length, at = read_varint(data, at)
    if length < 0:
        return -1, at
    if at + length > end:
        raise MalformedBatch("a field is longer than its record")
    return at, at + length


def _check_headers(data: bytes, at: int, end: int) -> None:
    count, at = read_varint(data, at)
    if count < 0:
        raise MalformedBatch(f"a record with {count} headers")
    for _ in range(count):
        name_at, at = _field(data, at, end)
        if name_at < 0:
            raise MalformedBatch("a header without a name")
        _, at = _field(data, at, end)
    if at != end:
        raise MalformedBatch(f"a record ends {end - at} bytes after its last header")


def _headers(data: bytes, at: int) -> Iterator[tuple[str, bytes | None]]:
    count, at = read_varint(data, at)
    for _ in range(count):
        name_at, end = _field(data, at, len(data))
        value_at, at = _field(data, end, len(data))
        yield _text(data[name_at:end]), None if value_at < 0 else data[value_at:at]


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise MalformedBatch("a header's name is not UTF-8") from None


def _encode_record(delta: int, key: bytes | None, value: bytes | None) -> bytes:
    body = b"\x00\x00" + write_varint(delta) + _write_bytes(key) + _write_bytes(value) + b"\x00"
    return write_varint(len(body)) + body


def write_varint(value: int) -> bytes:
    """Zigzag, then seven bits a byte, as in Protocol Buffers' ``sint64``."""
    rest = (value << 1) ^ (value >> 63)
    out = bytearray()
    while rest > 0x7F:
        out.append((rest & 0x7F) | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Value and the position after it; ``IndexError`` at the end of the data, ``MalformedBatch`` over ten bytes."""
    byte = data[at]
    at += 1
    if byte < _VARINT_MORE:
        return (byte >> 1) ^ -(byte & 1), at
    rest, shift = byte & 0x7F, 7
    while True:
        byte = data[at]
        at += 1
        rest |= (byte & 0x7F) << shift
        if byte < _VARINT_MORE:
            return (rest >> 1) ^ -(rest & 1), at
        shift += 7
        if shift > 63:
            raise MalformedBatch("a varint of more than ten bytes")


def _write_bytes(value: bytes | None) -> bytes:
    return write_varint(-1) if value is None else write_varint(len(value)) + value
