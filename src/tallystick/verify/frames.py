"""Kafka's outer frame, read just far enough to know which request it is.

Owns: the four-byte length and the fixed part of the request header. Must not know: the broker's own wire code, so
that a mistake there cannot hide here. Source: Kafka protocol guide, "Protocol Primitive Types" and request headers.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from typing import Final

from tallystick.errors import CorruptData

FRAME_BYTES_MAX: Final = 128 * 1024 * 1024
_LENGTH: Final = struct.Struct(">i")
_HEAD: Final = struct.Struct(">hhih")

PRODUCE: Final = 0
FETCH: Final = 1
METADATA: Final = 3
FIND_COORDINATOR: Final = 10
INIT_PRODUCER_ID: Final = 22
ADD_PARTITIONS_TO_TXN: Final = 24
ADD_OFFSETS_TO_TXN: Final = 25
END_TXN: Final = 26
TXN_OFFSET_COMMIT: Final = 28
DESCRIBE_CLUSTER: Final = 60


@dataclass(frozen=True, slots=True)
class RequestFrame:
    """One request. ``raw`` is the whole message without its length."""

    api_key: int
    api_version: int
    correlation_id: int
    client_id: str | None
    raw: bytes


def parse_request(raw: bytes) -> RequestFrame:
    """Raises ``CorruptData`` for bytes too short to be a request header."""
    try:
        api_key, api_version, correlation_id, client_id_bytes = _HEAD.unpack_from(raw)
    except struct.error as error:
        raise CorruptData(f"a request of {len(raw)} bytes has no header", place="frame") from error
    client_id = None
    if client_id_bytes >= 0:
        client_id = raw[_HEAD.size : _HEAD.size + client_id_bytes].decode("utf-8", "replace")
    return RequestFrame(api_key, api_version, correlation_id, client_id, raw)


def correlation_of(response: bytes) -> int:
    """The correlation id that a response begins with. Raises ``CorruptData``."""
    if len(response) < _LENGTH.size:
        raise CorruptData(f"a response of {len(response)} bytes has no header", place="frame")
    return int(_LENGTH.unpack_from(response)[0])


def with_length(raw: bytes) -> bytes:
    """The message as it goes over the wire."""
    return _LENGTH.pack(len(raw)) + raw


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """The next message without its length. Raises ``IncompleteReadError`` at the end, ``CorruptData`` on nonsense."""
    (size,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if not 0 <= size <= FRAME_BYTES_MAX:
        raise CorruptData(f"a frame of {size} bytes", place="frame")
    return await reader.readexactly(size)
