"""Frames and the request and response headers, between bytes and values.

Owns: the length prefix and its bound, request header versions 1 and 2, response header versions 0 and 1, and which API
version uses which. Must not know: sockets; what is inside a message (kio knows).

Source: the Kafka protocol guide, KIP-482 (flexible versions) and KIP-511 (ApiVersions).
"""

from __future__ import annotations

import io
import struct
from functools import cache
from typing import Any, Final

import msgspec
from kio.index import load_request_schema, load_response_schema
from kio.serial import entity_reader, entity_writer
from kio.serial.errors import SerialError

from tallystick.wire.produce_request import FIRST_VERSION, read_produce
from tallystick.wire.shapes import (
    MAX_ROWS,
    MalformedFrame,
    checked_body,
    prepare_check,
    skip_tagged_fields,
)
from tallystick.wire.short_rows import Write
from tallystick.wire.writers import writer_of

LENGTH_BYTES: Final = 4
MAX_FRAME_BYTES: Final = 100 * 1024 * 1024
"""The bound of Apache Kafka's ``socket.request.max.bytes``."""

_LENGTH: Final = struct.Struct(">i")
_FIXED_HEADER: Final = struct.Struct(">hhih")


Frame = bytes | memoryview
"""A memoryview only where nobody keeps the frame: its place is used again."""

PRODUCE: Final = 0
"""The API key of the one request that may be very large."""
_GATHERED_FROM_BYTES: Final = 16 * 1024


class RequestHeader(msgspec.Struct, frozen=True):
    """What every request begins with. ``body_at`` is where the message itself begins in the frame."""

    api_key: int
    api_version: int
    correlation_id: int
    client_id: str | None
    body_at: int


def frame_length(prefix: bytes, *, max_bytes: int = MAX_FRAME_BYTES) -> int:
    """The length in a four-byte prefix; ``MalformedFrame`` if it is negative or over the bound."""
    (length,) = _LENGTH.unpack(prefix)
    if not 8 <= length <= max_bytes:
        raise MalformedFrame(f"a frame of {length} bytes; 8 to {max_bytes} are allowed")
    return int(length)


def read_request_header(frame: Frame, *, flexible: bool | None = None) -> RequestHeader:
    """The header of a request frame. ``flexible`` None: by API key and version; unknown ones are read as version 1."""
    try:
        api_key, api_version, correlation_id, client_id_length = _FIXED_HEADER.unpack_from(frame)
    except struct.error:
        raise MalformedFrame(f"a request of {len(frame)} bytes has no header") from None
    at = _FIXED_HEADER.size
    client_id = None
    if client_id_length >= 0:
        raw = bytes(frame[at : at + client_id_length])
        if len(raw) != client_id_length:
            raise MalformedFrame("the client id is longer than its frame")
        try:
            client_id = raw.decode()
        except UnicodeDecodeError:
            raise MalformedFrame("the client id is not UTF-8") from None
        at += client_id_length
    if is_flexible(api_key, api_version) if flexible is None else flexible:
        at = _skip_tagged_fields(frame, at)
    return RequestHeader(api_key, api_version, correlation_id, client_id, at)


@cache
def is_known(api_key: int, api_version: int) -> bool:
    """Whether the schema of this request is known, whoever handles it."""
    try:
        load_request_schema(api_key, api_version)
    except RuntimeError:
        return False
    return True


@cache
def is_flexible(api_key: int, api_version: int) -> bool:
    """Whether this version has request header 2, so tagged fields; False for what kio does not know."""
    try:
        return bool(load_request_schema(api_key, api_version).__flexible__)
    except RuntimeError:
        return False


def _skip_tagged_fields(frame: Frame, at: int) -> int:
    try:
        return skip_tagged_fields(frame, at)
    except IndexError:
        raise MalformedFrame("the frame ends inside its header") from None


@cache
def _request_reader(api_key: int, api_version: int) -> tuple[Any, Any]:
    request_type = load_request_schema(api_key, api_version)
    return request_type, entity_reader(request_type)


def prepare(api_key: int, api_version: int) -> None:
    """Import what reads this request and writes its response, so that the first one does not wait for it."""
    is_flexible(api_key, api_version)
    request_type, _ = _request_reader(api_key, api_version)
    prepare_check(request_type)
    _response_writer(load_response_schema(api_key, api_version))


def read_request(frame: Frame, header: RequestHeader, *, max_rows: int = MAX_ROWS) -> Any:
    """kio's request from a frame; ``MalformedFrame`` if it does not decode, or has more rows than that.

    The records of a Produce request are views into the frame; everything else is a copy.

    Bytes left over are ignored, as Apache Kafka does: librdkafka 2.16 sends three too many when it asks for all topics.
    """
    if header.api_key == PRODUCE and header.api_version >= FIRST_VERSION:
        return read_produce(frame, header.body_at, header.api_version, max_rows=max_rows)
    request_type, read = _request_reader(header.api_key, header.api_version)
    body = checked_body(bytes(frame), header.body_at, request_type, max_rows=max_rows)
    try:
        request, _ = read(body, header.body_at)
    except (SerialError, ValueError, TypeError, OverflowError, IndexError) as error:
        # By its kind alone: what it says may quote the request, and a request may hold a password.
        raise MalformedFrame(
            f"API {header.api_key} version {header.api_version} does not decode: {error.__class__.__name__}"
        ) from None
    return request


@cache
def _response_writer(response_type: Any) -> tuple[Write, bytes]:
    tags = b"\x00" if response_type.__header_schema__.__version__ == 1 else b""
    return writer_of(response_type), tags


def response_buffers(correlation_id: int, response: Any) -> list[bytes | memoryview]:
    """A response frame, its length in front, in parts: long runs of bytes in it are not copied."""
    write, tags = _response_writer(response.__class__)
    parts: list[bytes | memoryview] = [b"", _LENGTH.pack(correlation_id) + tags]
    write(parts, response)
    length = sum(map(len, parts))
    parts[0] = _LENGTH.pack(length)
    return [b"".join(parts)] if length < _GATHERED_FROM_BYTES else _gathered(parts)


def _gathered(parts: list[bytes | memoryview]) -> list[bytes | memoryview]:
    """Short parts put together, long ones as they are."""
    buffers: list[bytes | memoryview] = []
    first = 0
    for number, part in enumerate(parts):
        if len(part) >= _GATHERED_FROM_BYTES:
            buffers += (b"".join(parts[first:number]), part)
            first = number + 1
    if first < len(parts):
        buffers.append(b"".join(parts[first:]))
    return buffers


def write_response(correlation_id: int, response: Any) -> bytes:
    """A response frame, its length in front."""
    return b"".join(response_buffers(correlation_id, response))


@cache
def _request_writer(request_type: Any) -> Any:
    return entity_writer(request_type)


def write_request(correlation_id: int, client_id: str | None, request: Any) -> bytes:
    """A request frame, its length in front (for tools and tests that speak to a broker without a client library)."""
    raw_id = b"" if client_id is None else client_id.encode()
    body = io.BytesIO()
    _request_writer(request.__class__)(body, request)
    header = _FIXED_HEADER.pack(
        request.__api_key__, request.__version__, correlation_id, -1 if client_id is None else len(raw_id)
    )
    payload = header + raw_id + (b"\x00" if request.__flexible__ else b"") + body.getvalue()
    return _LENGTH.pack(len(payload)) + payload


def read_response(frame: bytes, api_key: int, api_version: int, *, response_type: Any = None) -> tuple[int, Any]:
    """Correlation id and response from a frame without its length prefix.

    ``response_type`` is a class like kio's, for a response that kio's own cannot read.
    """
    response_type = response_type or load_response_schema(api_key, api_version)
    (correlation_id,) = _LENGTH.unpack_from(frame)
    at = LENGTH_BYTES
    if response_type.__header_schema__.__version__ == 1:
        at = _skip_tagged_fields(frame, at)
    response, size = entity_reader(response_type)(frame, at)
    if at + size != len(frame):
        raise MalformedFrame(f"API {api_key} version {api_version}: {len(frame) - at - size} bytes are left over")
    return int(correlation_id), response
