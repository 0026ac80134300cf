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
        headers.append((_text(name), content))
    timestamp_ms = header.base_timestamp_ms + timestamp_delta
    if not -(2**63) <= timestamp_ms < 2**63:
        raise MalformedBatch("a record's timestamp has more than 64 bits")
    return WireRecord(header.base_offset + offset_delta, timestamp_ms, key, value, tuple(headers))


def _text(raw: bytes | None) -> str:
    try:
        return (raw or b"").decode()
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


MAX_DECOMPRESSED_BYTES: Final = 128 * 1024 * 1024
"""Of one batch. A megabyte of zstd can become 32 GB; what is larger than this is damage or an attack."""
_FIRST_ROOM_BYTES: Final = 64 * 1024
_MORE_ROOM: Final = 8
_NO_ROOM: Final = "failed to write whole buffer"


def decompress(codec: int, body: bytes, *, max_bytes: int = MAX_DECOMPRESSED_BYTES) -> bytes:
    """The opposite of ``compress``; also reads the framing of Java's snappy library.

    ``MalformedBatch`` if it is not compressed so, or becomes larger than ``max_bytes``.
    """
    if codec == 0:
        return body
    import cramjam

    try:
        match codec:
            case 1:
                return _bounded(cramjam.gzip, body, max_bytes)
            case 2:
                return _decompress_snappy(cramjam.snappy, body, max_bytes)
            case 3:
                return _bounded(cramjam.lz4, body, max_bytes)
            case 4:
                return _bounded(cramjam.zstd, body, max_bytes)
    except cramjam.DecompressionError as error:
        raise MalformedBatch(f"the batch does not decompress: {error}") from error
    raise MalformedBatch(f"no compression codec {codec}")


def _bounded(library: Any, body: bytes, max_bytes: int) -> bytes:
    """Into room that grows: none of the formats says beforehand, so that it could be believed, how much it takes."""
    import cramjam

    room = min(max(_FIRST_ROOM_BYTES, _MORE_ROOM * len(body)), max_bytes)
    while True:
        into = bytearray(room)
        try:
            size = library.decompress_into(body, into)
        except cramjam.DecompressionError as error:
            if str(error) != _NO_ROOM:
                raise
            if room >= max_bytes:
                raise _too_large(max_bytes) from None
            room = min(_MORE_ROOM * room, max_bytes)
        else:
            return bytes(memoryview(into)[:size])


def _too_large(max_bytes: int) -> MalformedBatch:
    return MalformedBatch(f"the batch becomes larger than {max_bytes} bytes")


def _decompress_snappy(snappy: Any, body: bytes, max_bytes: int) -> bytes:
    if not body.startswith(_XERIAL_MAGIC):
        return _decompress_block(snappy, body, max_bytes)
    at, parts = 16, []
    while at < len(body):
        size = int.from_bytes(body[at : at + 4], "big")
        parts.append(_decompress_block(snappy, body[at + 4 : at + 4 + size], max_bytes))
        max_bytes -= len(parts[-1])
        at += 4 + size
    return b"".join(parts)


def _decompress_block(snappy: Any, block: bytes, max_bytes: int) -> bytes:
    """A block of snappy says in front how large it becomes, and that much room is made for it."""
    if snappy.decompress_raw_len(block) > max_bytes:
        raise _too_large(max_bytes)
    return bytes(snappy.decompress_raw(block))
