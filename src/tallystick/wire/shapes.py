"""A request's bytes against its schema, walked once before anything is decoded.

Owns: that every length and count in a request can be true, the bound on its rows, unknown tagged fields. Must not know:
what a field means, sockets.

kio decodes a list by making room for as many items as its four bytes say: 17 GB for a request of twenty bytes, which
ends the process. It also fails at a tagged field that it does not know, where KIP-482 wants it skipped. So what kio
gets to see has passed here. The walk touches no text and makes no objects; runs of fixed size are one step.
"""

from __future__ import annotations

import dataclasses
import struct
import types
import typing
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from tallystick.errors import TallystickError

MAX_ROWS: Final = 50_000
"""Items of all lists of one request together; each becomes an object or more."""
MAX_TAGGED_FIELDS: Final = 1_000
"""In one place. Kafka has fewer than ten; each costs a step, and may be of two bytes."""
MAX_TEXT_BYTES: Final = 2**15 - 1
"""Of one string, as in Apache Kafka, which checks it in the compact form, too."""

_SIZES: Final[dict[str, int]] = {
    **dict.fromkeys(("bool", "int8", "uint8"), 1),
    **dict.fromkeys(("int16", "uint16", "error_code"), 2),
    **dict.fromkeys(("int32", "uint32", "timedelta_i32"), 4),
    **dict.fromkeys(("int64", "uint64", "float64", "timedelta_i64", "datetime_i64"), 8),
    "uuid": 16,
}
_I16: Final = struct.Struct(">h")
_I32: Final = struct.Struct(">i")


class MalformedFrame(TallystickError):
    """The peer does not speak Kafka's protocol, or not rightly: its connection ends, nothing else."""


class _Walk:
    """One frame on its way: where it ends, how many rows it may still have, what is to be cut out of it."""

    __slots__ = ("cuts", "end", "frame", "rows_left")

    def __init__(self, frame: bytes, max_rows: int) -> None:
        self.frame = frame
        self.end = len(frame)
        self.rows_left = max_rows
        self.cuts: list[tuple[int, int, bytes]] = []

    def take_rows(self, count: int) -> None:
        self.rows_left -= count
        if self.rows_left < 0:
            raise MalformedFrame("a request with too many rows")


Step = Callable[[_Walk, int], int]
"""From where a field begins to where it ends. It may end behind the frame, which is found out at the end."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Part:
    """How to step over something, the fewest bytes that it takes, and whether it always takes so many."""

    step: Step
    least_bytes: int
    is_fixed: bool = False


def prepare_check(request_type: Any) -> None:
    """Make ready what checks the bodies of these requests."""
    _entity(request_type)


def checked_body(frame: bytes, at: int, request_type: Any, *, max_rows: int = MAX_ROWS) -> bytes:
    """The frame without the tagged fields that nobody knows; ``MalformedFrame`` if the body at ``at`` cannot be whole.

    Bytes after the body are nobody's business here.
    """
    walk = _Walk(frame, max_rows)
    try:
        end = _entity(request_type).step(walk, at)
    except (IndexError, struct.error):
        end = walk.end + 1
    if end > walk.end:
        raise MalformedFrame("the frame ends inside a field")
    return _without(frame, walk.cuts) if walk.cuts else frame


def _without(frame: bytes, cuts: list[tuple[int, int, bytes]]) -> bytes:
    parts = []
    at = 0
    for start, end, instead in cuts:
        parts += [frame[at:start], instead]
        at = end
    return b"".join((*parts, frame[at:]))


@cache
def _entity(entity: Any) -> _Part:
    flexible = entity.__flexible__
    parts: list[_Part] = []
    tagged: dict[int, Step] = {}
    for field in dataclasses.fields(entity):
        tag = field.metadata.get("tag")
        part = _field(field, flexible=flexible, is_tagged=tag is not None)
        if tag is None:
            parts.append(part)
        else:
            tagged[tag] = part.step
    if flexible:
        parts.append(_Part(_tagged_fields(tagged), 1))
    return _in_sequence(parts)


def _in_sequence(parts: list[_Part]) -> _Part:
    least_bytes = sum(part.least_bytes for part in parts)
    if all(part.is_fixed for part in parts):
        return _fixed(least_bytes)
    steps = []
    run = 0
    for part in parts:
        if part.is_fixed:
            run += part.least_bytes
            continue
        if run:
            steps.append(_fixed(run).step)
            run = 0
        steps.append(part.step)
    if run:
        steps.append(_fixed(run).step)

    def over_all(walk: _Walk, at: int) -> int:
        for step in steps:
            at = step(walk, at)
        return at

    return _Part(over_all, least_bytes)


def _field(field: dataclasses.Field[Any], *, flexible: bool, is_tagged: bool) -> _Part:
    hint: Any = field.type
    nullable = types.NoneType in typing.get_args(hint)
    if nullable:
        (hint,) = (part for part in typing.get_args(hint) if part is not types.NoneType)
    is_list = typing.get_origin(hint) is tuple
    if is_list:
        hint = typing.get_args(hint)[0]
    if hasattr(hint, "__flexible__"):
        part = _entity(hint)
        if nullable and not is_list and not is_tagged:
            part = _nullable_entity(part)
    else:
        part = _primitive(field.metadata["kafka_type"], flexible=flexible)
    return _list(part, flexible=flexible, nullable=nullable) if is_list else part


def _primitive(kafka_type: str, *, flexible: bool) -> _Part:
    size = _SIZES.get(kafka_type)
    if size is not None:
        return _fixed(size)
    if flexible:
        return _Part(_compact_text if kafka_type == "string" else _compact_bytes, 1)
    return _Part(_text, 2) if kafka_type == "string" else _Part(_bytes, 4)


def _fixed(size: int) -> _Part:
    return _Part(lambda _, at: at + size, size, is_fixed=True)


def _text(walk: _Walk, at: int) -> int:
    (size,) = _I16.unpack_from(walk.frame, at)
    return at + 2 + size if size > 0 else at + 2


def _bytes(walk: _Walk, at: int) -> int:
    (size,) = _I32.unpack_from(walk.frame, at)
    return at + 4 + size if size > 0 else at + 4


def _compact_text(walk: _Walk, at: int) -> int:
    size, at = unsigned_varint(walk.frame, at)
    if size > MAX_TEXT_BYTES + 1:
        raise MalformedFrame(f"a text of {size - 1} bytes")
    return at + size - 1 if size > 1 else at


def _compact_bytes(walk: _Walk, at: int) -> int:
    size, at = unsigned_varint(walk.frame, at)
    return at + size - 1 if size > 1 else at


def _nullable_entity(part: _Part) -> _Part:
    """KIP-893: a byte in front, negative for null."""
    step = part.step
    return _Part(lambda walk, at: at + 1 if walk.frame[at] >= 0x80 else step(walk, at + 1), 1)


def _list(item: _Part, *, flexible: bool, nullable: bool) -> _Part:
    step, least_bytes, is_fixed = item.step, item.least_bytes, item.is_fixed

    def over_list(walk: _Walk, at: int) -> int:
        if flexible:
            count, at = unsigned_varint(walk.frame, at)
            count -= 1
        else:
            (count,) = _I32.unpack_from(walk.frame, at)
            at += 4
        if count <= 0:
            if count < 0 and not (nullable and count == -1):
                raise MalformedFrame("a list is null that may not be")
            return at
        walk.take_rows(count)
        if count * least_bytes > walk.end - at:
            raise MalformedFrame(f"a list of {count} items is longer than its frame")
        if is_fixed:
            return at + count * least_bytes
        for _ in range(count):
            at = step(walk, at)
        return at

    return _Part(over_list, 1 if flexible else 4)


def _tagged_fields(known: dict[int, Step]) -> Step:
    def over_tagged_fields(walk: _Walk, at: int) -> int:
        frame, begin = walk.frame, at
        if not frame[at]:
            return at + 1
        count, at = unsigned_varint(frame, at)
        check_tagged_count(count)
        walk.take_rows(count)
        kept = []
        for _ in range(count):
            start = at
            tag, at = unsigned_varint(frame, at)
            size, at = unsigned_varint(frame, at)
            step, end, cut = known.get(tag), at + size, len(walk.cuts)
            if end > walk.end:
                raise MalformedFrame("a tagged field is longer than its frame")
            if step is not None:
                if step(walk, at) != end or len(walk.cuts) != cut:
                    raise MalformedFrame(f"tagged field {tag} is not what its schema says")
                kept.append(frame[start:end])
            at = end
        if len(kept) < count:
            walk.cuts.append((begin, at, write_unsigned_varint(len(kept)) + b"".join(kept)))
        return at

    return over_tagged_fields


def check_tagged_count(count: int) -> None:
    """``MalformedFrame`` if nobody could mean so many."""
    if count > MAX_TAGGED_FIELDS:
        raise MalformedFrame(f"{count} tagged fields in one place")


def skip_tagged_fields(frame: bytes | memoryview, at: int) -> int:
    """The position after tagged fields of which none is known; ``IndexError`` at the end of the frame."""
    count, at = unsigned_varint(frame, at)
    check_tagged_count(count)
    for _ in range(count):
        _, at = unsigned_varint(frame, at)
        size, at = unsigned_varint(frame, at)
        at += size
    if at > len(frame):
        raise MalformedFrame("a tagged field is longer than its frame")
    return at


def unsigned_varint(frame: bytes | memoryview, at: int) -> tuple[int, int]:
    """Value and the position after it; ``IndexError`` at the end of the frame, ``MalformedFrame`` over five bytes."""
    byte = frame[at]
    if byte < 0x80:
        return byte, at + 1
    value = byte & 0x7F
    for shift in (7, 14, 21, 28):
        at += 1
        byte = frame[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at + 1
    raise MalformedFrame("a number of more than five bytes")


def write_unsigned_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
