"""The two rows that a broker answers most, as values with few fields: a batch was written, and what was read.

Owns: their layouts in every version. Must not know: who answers them. A row that has more to tell is kio's, beside them
in the same list; tests hold both against each other.

Source: ``ProduceResponse.json`` and ``FetchResponse.json`` of Apache Kafka; KIP-482 for the compact forms.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, ClassVar, Final, NamedTuple

import msgspec
from kio.schema.errors import ErrorCode

from tallystick.wire.shapes import write_unsigned_varint

Parts = list[bytes | memoryview]
Write = Callable[[Parts, Any], None]

_PRODUCE: Final = 0
_FETCH: Final = 1
_I32: Final = struct.Struct(">i").pack
_NO_REPLICA: Final = b"\xff\xff\xff\xff"
_NULL_LIST: Final = b"\xff\xff\xff\xff"
_EMPTY_LIST: Final = bytes(4)


class Produced(msgspec.Struct, frozen=True, gc=False):
    """A batch of Produce was written: kio's ``PartitionProduceResponse`` without an error."""

    error_code: ClassVar = ErrorCode.none

    index: int
    base_offset: int
    log_append_time_ms: int
    """-1 if the records keep their own time."""
    log_start_offset: int


class Fetched(msgspec.Struct, frozen=True, gc=False):
    """A partition was read: kio's ``PartitionData`` without an error, a diverging epoch or aborted transactions."""

    error_code: ClassVar = ErrorCode.none

    partition_index: int
    high_watermark: int
    last_stable_offset: int
    log_start_offset: int
    records: bytes | memoryview
    aborted_transactions: tuple[()] | None = None
    """None: it was not asked which were aborted."""


def write_produced(version: int) -> Write:
    """A ``Produced`` in this version, 3 or later."""
    has_start, has_errors, flexible = version >= 5, version >= 8, version >= 9
    rest = (b"\x01\x00" if flexible else _EMPTY_LIST + b"\xff\xff") if has_errors else b""
    rest += b"\x00" if flexible else b""
    if not has_start:
        pack_old = struct.Struct(">ihqq").pack
        return lambda parts, row: parts.append(pack_old(row.index, 0, row.base_offset, row.log_append_time_ms))
    pack = struct.Struct(f">ihqqq{len(rest)}s").pack

    def write(parts: Parts, row: Produced) -> None:
        parts.append(pack(row.index, 0, row.base_offset, row.log_append_time_ms, row.log_start_offset, rest))

    return write


def write_fetched(version: int) -> Write:
    """A ``Fetched`` in this version, 4 or later."""
    has_start, has_replica, flexible = version >= 5, version >= 11, version >= 12
    replica = _NO_REPLICA if has_replica else b""
    null_list = (b"\x00" if flexible else _NULL_LIST) + replica
    empty_list = (b"\x01" if flexible else _EMPTY_LIST) + replica
    pack = struct.Struct(">ihqqq" if has_start else ">ihqq").pack

    def write(parts: Parts, row: Fetched) -> None:
        numbers: tuple[int, ...] = (row.partition_index, 0, row.high_watermark, row.last_stable_offset)
        if has_start:
            numbers = (*numbers, row.log_start_offset)
        records = row.records
        lists = null_list if row.aborted_transactions is None else empty_list
        if flexible:
            parts.append(pack(*numbers) + lists + write_unsigned_varint(len(records) + 1))
            parts += (records, b"\x00")
        else:
            parts.append(pack(*numbers) + lists + _I32(len(records)))
            parts.append(records)

    return write


class ShortRow(NamedTuple):
    """Which class stands for a row of kio's, and what writes it in a version."""

    row: type
    writer: Callable[[int], Write]


SHORT_ROWS: Final[dict[tuple[int, str], ShortRow]] = {
    (_PRODUCE, "PartitionProduceResponse"): ShortRow(Produced, write_produced),
    (_FETCH, "PartitionData"): ShortRow(Fetched, write_fetched),
}
"""By API key and the name of kio's class."""
