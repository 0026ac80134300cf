"""Records inside a batch, encoded and decoded: for markers, look-ups by time, tools and tests.

Owns: varints, record framing, compression of a batch's body, control records. Must not know: files, producers' state.
The broker's hot path never comes here.

Source: the Kafka documentation, "Record" and "Control Batches"; KIP-98 for the transaction marker.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from tallystick.wire.batch import (
    COMPRESSION_MASK,
    CONTROL,
    HEADER_BYTES,
    MAGIC,
    NO_PRODUCER_ID,
    NO_SEQUENCE,
    TRANSACTIONAL,
    BatchHeader,
    MalformedBatch,
    check_crc,
    read_header,
    write_batch,
)

COMPRESSION: Final = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
_XERIAL_MAGIC: Final = b"\x82SNAPPY\x00"
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
    codec = COMPRESSION[spec.compression]
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


def iterate_batches(buffer: bytes) -> Iterator[tuple[BatchHeader, bytes]]:
    """Whole, verified batches of a fetch response's bytes; a torn last one is left out, as clients do."""
    at = 0
    while at + HEADER_BYTES <= len(buffer):
        header = read_header(buffer, at)
        if at + header.size_bytes > len(buffer):
            return
        check_crc(buffer, at, header)
        yield header, buffer[at : at + header.size_bytes]
        at += header.size_bytes


def decode_batch(batch: bytes) -> tuple[BatchHeader, tuple[WireRecord, ...]]:
    """Header and records of one whole batch; its CRC is checked."""
    header = read_header(batch)
    check_crc(batch, 0, header)
    return header, tuple(decode_records(header, batch[HEADER_BYTES : header.size_bytes]))


def decode_records(header: BatchHeader, body: bytes | memoryview) -> Iterator[WireRecord]:
    """The records of a batch's body, decompressed if need be."""
    data = decompress(header.attributes & COMPRESSION_MASK, bytes(body))
    at = 0
    try:
        for _ in range(header.record_count):
            length, start = read_varint(data, at)
            at = start + length
            if length < 0 or at > len(data):
                raise MalformedBatch("a record is longer than its batch")
            yield _decode_record(header, data[start:at])
    except IndexError:
        raise MalformedBatch("the batch ends inside a record") from None


def _decode_record(header: BatchHeader, raw: bytes) -> WireRecord:
    timestamp_delta, at = read_varint(raw, 1)
    offset_delta, at = read_varint(raw, at)
    key, at = _read_bytes(raw, at)
    value, at = _read_bytes(raw, at)
    count, at = read_varint(raw, at)
    headers = []
    for _ in range(count):
        name, at = _read_bytes(raw, at)
        content, at = _read_bytes(raw, at)
        headers.append(((name or b"").decode(), content))
    timestamp_ms = header.base_timestamp_ms + timestamp_delta
    return WireRecord(header.base_offset + offset_delta, timestamp_ms, key, value, tuple(headers))


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
    rest = shift = 0
    while True:
        byte = data[at]
        at += 1
        rest |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (rest >> 1) ^ -(rest & 1), at
        shift += 7
        if shift > 63:
            raise MalformedBatch("a varint of more than ten bytes")


def _read_bytes(data: bytes, at: int) -> tuple[bytes | None, int]:
    length, at = read_varint(data, at)
    if length < 0:
        return None, at
    if at + length > len(data):
        raise MalformedBatch("a field is longer than its record")
    return data[at : at + length], at + length


def _write_bytes(value: bytes | None) -> bytes:
    return write_varint(-1) if value is None else write_varint(len(value)) + value


def compress(codec: int, body: bytes) -> bytes:
    """Compress a batch's body by codec number."""
    import cramjam

    match codec:
        case 0:
            return body
        case 1:
            return bytes(cramjam.gzip.compress(body))
        case 2:
            return bytes(cramjam.snappy.compress_raw(body))
        case 3:
            return bytes(cramjam.lz4.compress(body))
        case 4:
            return bytes(cramjam.zstd.compress(body))
    raise MalformedBatch(f"no compression codec {codec}")


def decompress(codec: int, body: bytes) -> bytes:
    """The opposite of ``compress``; also reads the framing of Java's snappy library."""
    if codec == 0:
        return body
    import cramjam

    try:
        match codec:
            case 1:
                return bytes(cramjam.gzip.decompress(body))
            case 2:
                return _decompress_snappy(cramjam, body)
            case 3:
                return bytes(cramjam.lz4.decompress(body))
            case 4:
                return bytes(cramjam.zstd.decompress(body))
    except cramjam.DecompressionError as error:
        raise MalformedBatch(f"the batch does not decompress: {error}") from error
    raise MalformedBatch(f"no compression codec {codec}")


def _decompress_snappy(cramjam: Any, body: bytes) -> bytes:
    if not body.startswith(_XERIAL_MAGIC):
        return bytes(cramjam.snappy.decompress_raw(body))
    at, parts = 16, []
    while at < len(body):
        size = int.from_bytes(body[at : at + 4], "big")
        parts.append(bytes(cramjam.snappy.decompress_raw(body[at + 4 : at + 4 + size])))
        at += 4 + size
    return b"".join(parts)
