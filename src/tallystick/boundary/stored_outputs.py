"""How outputs are stored beside their inbox row. Frozen.

Owns: the encoding (MessagePack arrays, a leading version number). Must not know: SQL, Kafka.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from tallystick.errors import CorruptData
from tallystick.ids import EventId
from tallystick.pipeline.records import Headers, Output

FORMAT_VERSION: Final = 1

_Wire = tuple[str, bytes | None, bytes | None, str, tuple[tuple[str, bytes], ...], int | None, int | None]
_encoder = msgspec.msgpack.Encoder()
_outputs = msgspec.msgpack.Decoder(tuple[int, tuple[_Wire, ...]])
_headers = msgspec.msgpack.Decoder(tuple[int, tuple[tuple[str, bytes], ...]])


def encode_outputs(outputs: Sequence[Output]) -> bytes | None:
    """The outputs as bytes; None for no outputs."""
    if not outputs:
        return None
    rows = [(o.topic, o.key, o.value, o.event_id, o.headers, o.partition, o.timestamp_ms) for o in outputs]
    return _encoder.encode((FORMAT_VERSION, rows))


def decode_outputs(raw: bytes | None, *, place: str) -> tuple[Output, ...]:
    """The outputs again; ``CorruptData`` naming ``place`` if the bytes are not ours."""
    if raw is None:
        return ()
    try:
        version, rows = _outputs.decode(raw)
    except msgspec.DecodeError as error:
        raise CorruptData(f"stored outputs do not decode: {error}", place=place) from error
    if version != FORMAT_VERSION:
        raise CorruptData(f"stored outputs have format {version}, not {FORMAT_VERSION}", place=place)
    return tuple(
        Output(
            topic=topic,
            key=key,
            value=value,
            event_id=EventId(event_id),
            headers=headers,
            partition=partition,
            timestamp_ms=timestamp_ms,
        )
        for topic, key, value, event_id, headers, partition, timestamp_ms in rows
    )


def encode_headers(headers: Headers) -> bytes | None:
    """Record headers as bytes; None for none."""
    return _encoder.encode((FORMAT_VERSION, headers)) if headers else None


def decode_headers(raw: bytes | None, *, place: str) -> Headers:
    """The headers again; ``CorruptData`` naming ``place`` if the bytes are not ours."""
    if raw is None:
        return ()
    try:
        version, headers = _headers.decode(raw)
    except msgspec.DecodeError as error:
        raise CorruptData(f"stored headers do not decode: {error}", place=place) from error
    if version != FORMAT_VERSION:
        raise CorruptData(f"stored headers have format {version}, not {FORMAT_VERSION}", place=place)
    return headers
