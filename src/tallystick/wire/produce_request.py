"""Produce requests, decoded by hand: the one message whose bytes are worth not to copy.

Owns: the layouts of versions 3 to 13. Must not know: batches, what is done with them.

The result is kio's, built of its classes; but ``records`` are a view into the frame, which holds only as long as the
frame does. Tests hold every version against kio's own decoder.

Source: ``ProduceRequest.json`` of Apache Kafka; KIP-482 for the compact forms.
"""

from __future__ import annotations

import struct
import uuid
from datetime import timedelta
from functools import cache
from typing import Any, Final, NamedTuple

from kio.index import load_entity_module
from kio.static.constants import EntityType

from tallystick.wire.shapes import MAX_ROWS, MAX_TEXT_BYTES, MalformedFrame, skip_tagged_fields, unsigned_varint

FIRST_VERSION: Final = 3
"""Older ones carry message formats that are refused."""
_FIRST_FLEXIBLE: Final = 9
_FIRST_WITH_TOPIC_IDS: Final = 13
_ACKS_AND_TIMEOUT: Final = struct.Struct(">hi")
_I32: Final = struct.Struct(">i")
_I16: Final = struct.Struct(">h")
_INDEX_AND_SIZE: Final = struct.Struct(">ii")


class _Types(NamedTuple):
    request: Any
    topic: Any
    partition: Any


@cache
def _types(version: int) -> _Types:
    module = load_entity_module("produce", version, EntityType.request)
    return _Types(module.ProduceRequest, module.TopicProduceData, module.PartitionProduceData)


def read_produce(frame: bytes | memoryview, at: int, version: int, *, max_rows: int = MAX_ROWS) -> Any:
    """kio's ``ProduceRequest`` from the body at ``at``; ``MalformedFrame`` if it is none, or has more rows than that.

    Bytes left over, and tagged fields that nobody knows, are ignored.
    """
    try:
        if version >= _FIRST_FLEXIBLE:
            return _flexible(memoryview(frame), at, version, max_rows)
        return _plain(memoryview(frame), at, version, max_rows)
    except (struct.error, IndexError):
        raise MalformedFrame("the frame ends inside a field") from None
    except ValueError:  # UnicodeDecodeError is one
        raise MalformedFrame("a name that is not UTF-8, or an id that is not whole") from None


def _plain(frame: memoryview, at: int, version: int, rows_left: int) -> Any:
    types = _types(version)
    transactional_id, at = _text(frame, at)
    acks, timeout_ms = _ACKS_AND_TIMEOUT.unpack_from(frame, at)
    (topic_count,) = _I32.unpack_from(frame, at + 6)
    at += 10
    topics = []
    rows_left = _take_rows(topic_count, rows_left)
    for _ in range(topic_count):
        name, at = _text(frame, at)
        (partition_count,) = _I32.unpack_from(frame, at)
        at += 4
        rows_left = _take_rows(partition_count, rows_left)
        partitions = []
        for _ in range(partition_count):
            index, size = _INDEX_AND_SIZE.unpack_from(frame, at)
            at += 8
            records, at = _records(frame, at, size)
            partitions.append(types.partition(index=index, records=records))
        topics.append(types.topic(name=_given(name), partition_data=tuple(partitions)))
    return types.request(
        transactional_id=transactional_id,
        acks=acks,
        timeout=timedelta(milliseconds=timeout_ms),
        topic_data=tuple(topics),
    )


def _flexible(frame: memoryview, at: int, version: int, rows_left: int) -> Any:
    types = _types(version)
    transactional_id, at = _compact_text(frame, at)
    acks, timeout_ms = _ACKS_AND_TIMEOUT.unpack_from(frame, at)
    topic_count, at = unsigned_varint(frame, at + 6)
    partition_of, unpack_index = types.partition, _I32.unpack_from
    topics = []
    rows_left = _take_rows(topic_count - 1, rows_left)
    for _ in range(topic_count - 1):
        identity: dict[str, Any]
        if version >= _FIRST_WITH_TOPIC_IDS:
            topic_id = uuid.UUID(bytes=bytes(frame[at : at + 16]))
            identity = {"topic_id": topic_id if topic_id.int else None}
            at += 16
        else:
            name, at = _compact_text(frame, at)
            identity = {"name": _given(name)}
        partition_count, at = unsigned_varint(frame, at)
        rows_left = _take_rows(partition_count - 1, rows_left)
        partitions = []
        for _ in range(partition_count - 1):
            (index,) = unpack_index(frame, at)
            size, at = unsigned_varint(frame, at + 4)
            records, at = _records(frame, at, size - 1)
            at = skip_tagged_fields(frame, at) if frame[at] else at + 1
            partitions.append(partition_of(index=index, records=records))
        at = skip_tagged_fields(frame, at)
        topics.append(types.topic(**identity, partition_data=tuple(partitions)))
    skip_tagged_fields(frame, at)
    return types.request(
        transactional_id=transactional_id,
        acks=acks,
        timeout=timedelta(milliseconds=timeout_ms),
        topic_data=tuple(topics),
    )


def _take_rows(count: int, left: int) -> int:
    if count < 0:
        raise MalformedFrame("Produce without a list that must be there")
    if count > left:
        raise MalformedFrame("a request with too many rows")
    return left - count


def _records(frame: memoryview, at: int, size: int) -> tuple[memoryview | None, int]:
    if size < 0:
        return None, at
    end = at + size
    if end > len(frame):
        raise MalformedFrame("the frame ends inside a field")
    return frame[at:end], end


def _text(frame: memoryview, at: int) -> tuple[str | None, int]:
    (size,) = _I16.unpack_from(frame, at)
    return _decoded(frame, at + 2, size)


def _compact_text(frame: memoryview, at: int) -> tuple[str | None, int]:
    size, at = unsigned_varint(frame, at)
    if size > MAX_TEXT_BYTES + 1:
        raise MalformedFrame(f"a text of {size - 1} bytes")
    return _decoded(frame, at, size - 1)


def _decoded(frame: memoryview, at: int, size: int) -> tuple[str | None, int]:
    if size < 0:
        return None, at
    end = at + size
    if end > len(frame):
        raise MalformedFrame("the frame ends inside a field")
    return str(frame[at:end], "utf-8"), end


def _given(name: str | None) -> str:
    if name is None:
        raise MalformedFrame("a topic without a name")
    return name
