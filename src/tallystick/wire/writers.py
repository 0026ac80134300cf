"""Writers of messages, made from kio's schemas: the same bytes as kio's own, in a third of the time.

Owns: how a field of each type is written, and that fixed-size fields in a row are packed at once. Must not know: any
message but for the rows that have a short form. Tests hold every response in every version against kio.

A writer appends parts to a list. kio's also checks each value's type; here a wrong one fails in ``struct`` or not at
all, which the tests of the handlers find, because they read every answer back.
"""

from __future__ import annotations

import dataclasses
import io
import struct
import types
import typing
from datetime import datetime, timedelta
from functools import cache
from operator import attrgetter
from typing import Any, Final

from kio.serial import entity_writer

from tallystick.wire.shapes import write_unsigned_varint
from tallystick.wire.short_rows import SHORT_ROWS, Parts, Write

_CODES: Final = {
    "bool": "?",
    "int8": "b",
    "int16": "h",
    "int32": "i",
    "int64": "q",
    "uint8": "B",
    "uint16": "H",
    "uint32": "I",
    "uint64": "Q",
    "float64": "d",
    "error_code": "h",
}
_I8: Final = struct.Struct(">b").pack
_I16: Final = struct.Struct(">h").pack
_I32: Final = struct.Struct(">i").pack
_I64: Final = struct.Struct(">q").pack
_NO_UUID: Final = bytes(16)
_MILLISECOND: Final = timedelta(milliseconds=1)
_SHORT_VARINTS: Final = [bytes([number]) for number in range(0x80)]


@cache
def writer_of(entity: Any) -> Write:
    """How a message or a row of one is written. A row may be in its short form, if it has one."""
    write = _writer(entity)
    short = SHORT_ROWS.get((entity.__api_key__, entity.__name__))
    if short is None:
        return write
    short_class, write_short = short.row, short.writer(entity.__version__)

    def write_either(parts: Parts, value: Any) -> None:
        if value.__class__ is short_class:
            write_short(parts, value)
        else:
            write(parts, value)

    return write_either


def _writer(entity: Any) -> Write:
    flexible: bool = entity.__flexible__
    if any("tag" in field.metadata and field.default is dataclasses.MISSING for field in dataclasses.fields(entity)):
        return _by_kio(entity)  # which knows the default that such a tagged field has
    steps: list[Write] = []
    run: list[tuple[str, str]] = []
    tagged: dict[int, dataclasses.Field[Any]] = {}
    for field in dataclasses.fields(entity):
        if "tag" in field.metadata:
            tagged[field.metadata["tag"]] = field
            continue
        code = _code(field)
        if code is not None:
            run.append((field.name, code))
            continue
        if run:
            steps.append(_packed(run))
            run = []
        steps.append(_of_attribute(field.name, _value_writer(field, flexible=flexible)))
    if run:
        steps.append(_packed(run))
    if flexible:
        steps.append(_tagged_fields(tagged))
    if len(steps) == 1:
        return steps[0]

    def write(parts: Parts, value: Any) -> None:
        for step in steps:
            step(parts, value)

    return write


def _hint(field: dataclasses.Field[Any]) -> tuple[Any, bool, bool]:
    """The type of a field or of its items, whether there may be None, and whether it is a list."""
    hint: Any = field.type
    nullable = types.NoneType in typing.get_args(hint)
    if nullable:
        (hint,) = (part for part in typing.get_args(hint) if part is not types.NoneType)
    is_list = typing.get_origin(hint) is tuple
    return typing.get_args(hint)[0] if is_list else hint, nullable, is_list


def _code(field: dataclasses.Field[Any]) -> str | None:
    """The letter by which ``struct`` packs the field, if it does."""
    hint, nullable, is_list = _hint(field)
    if nullable or is_list or hasattr(hint, "__flexible__"):
        return None
    return _CODES.get(field.metadata["kafka_type"])


def _packed(run: list[tuple[str, str]]) -> Write:
    pack = struct.Struct(">" + "".join(code for _, code in run)).pack
    get = attrgetter(*(name for name, _ in run))
    if len(run) == 1:
        return lambda parts, value: parts.append(pack(get(value)))
    return lambda parts, value: parts.append(pack(*get(value)))


def _of_attribute(name: str, write: Write) -> Write:
    get = attrgetter(name)
    return lambda parts, value: write(parts, get(value))


def _value_writer(field: dataclasses.Field[Any], *, flexible: bool, is_tagged: bool = False) -> Write:
    hint, nullable, is_list = _hint(field)
    if hasattr(hint, "__flexible__"):
        write = writer_of(hint)
        if nullable and not is_list and not is_tagged:
            write = _nullable_entity(write)
    else:
        write = _primitive(field.metadata["kafka_type"], flexible=flexible)
        if write in _OF_LENGTH and not nullable and not is_list:
            write = _required(write)
    return _list(write, flexible=flexible) if is_list else write


def _primitive(kafka_type: str, *, flexible: bool) -> Write:
    code = _CODES.get(kafka_type)
    if code is not None:
        pack = struct.Struct(f">{code}").pack
        return lambda parts, value: parts.append(pack(value))
    if kafka_type == "string":
        return _compact_text if flexible else _text
    if kafka_type in ("bytes", "records"):
        return _compact_bytes if flexible else _bytes
    return _OTHERS[kafka_type]


def _text(parts: Parts, value: str | None) -> None:
    if value is None:
        parts.append(b"\xff\xff")
        return
    raw = value.encode()
    parts.append(_I16(len(raw)) + raw)


def _compact_text(parts: Parts, value: str | None) -> None:
    if value is None:
        parts.append(b"\x00")
        return
    raw = value.encode()
    parts.append(_varint(len(raw) + 1) + raw)


def _bytes(parts: Parts, value: bytes | memoryview | None) -> None:
    if value is None:
        parts.append(b"\xff\xff\xff\xff")
        return
    parts.append(_I32(len(value)))
    parts.append(value)


def _compact_bytes(parts: Parts, value: bytes | memoryview | None) -> None:
    if value is None:
        parts.append(b"\x00")
        return
    parts.append(_varint(len(value) + 1))
    parts.append(value)


_OF_LENGTH: Final = (_text, _compact_text, _bytes, _compact_bytes)


def _required(write: Write) -> Write:
    """As kio, so that a handler's slip is found where it is made."""

    def write_required(parts: Parts, value: Any) -> None:
        if value is None:
            raise TypeError("None where there must be a text or bytes")
        write(parts, value)

    return write_required


def _uuid(parts: Parts, value: Any) -> None:
    parts.append(_NO_UUID if value is None else value.bytes)


def _timedelta_i32(parts: Parts, value: timedelta) -> None:
    parts.append(_I32(round(value / _MILLISECOND)))


def _timedelta_i64(parts: Parts, value: timedelta) -> None:
    parts.append(_I64(round(value / _MILLISECOND)))


def _datetime_i64(parts: Parts, value: datetime | None) -> None:
    parts.append(_I64(-1 if value is None else round(value.timestamp() * 1000)))


_OTHERS: Final[dict[str, Write]] = {
    "uuid": _uuid,
    "timedelta_i32": _timedelta_i32,
    "timedelta_i64": _timedelta_i64,
    "datetime_i64": _datetime_i64,
}


def _nullable_entity(write: Write) -> Write:
    """KIP-893: a byte in front, negative for null."""

    def write_nullable(parts: Parts, value: Any) -> None:
        if value is None:
            parts.append(_I8(-1))
            return
        parts.append(_I8(1))
        write(parts, value)

    return write_nullable


def _list(write: Write, *, flexible: bool) -> Write:
    def write_list(parts: Parts, items: tuple[Any, ...] | None) -> None:
        if items is None:
            parts.append(b"\x00" if flexible else b"\xff\xff\xff\xff")
            return
        parts.append(_varint(len(items) + 1) if flexible else _I32(len(items)))
        for item in items:
            write(parts, item)

    return write_list


def _by_kio(entity: Any) -> Write:
    write = entity_writer(entity)

    def write_by_kio(parts: Parts, value: Any) -> None:
        buffer = io.BytesIO()
        write(buffer, value)
        parts.append(buffer.getvalue())

    return write_by_kio


def _tagged_fields(tagged: dict[int, dataclasses.Field[Any]]) -> Write:
    if not tagged:
        return lambda parts, _: parts.append(b"\x00")
    fields = [
        (tag, attrgetter(field.name), field.default, _value_writer(field, flexible=True, is_tagged=True))
        for tag, field in sorted(tagged.items())
    ]

    def write_tagged(parts: Parts, value: Any) -> None:
        found = [(tag, get(value), write) for tag, get, default, write in fields if get(value) != default]
        parts.append(_varint(len(found)))
        for tag, content, write in found:
            inner: Parts = []
            write(inner, content)
            raw = b"".join(inner)
            parts.append(_varint(tag) + _varint(len(raw)) + raw)

    return write_tagged


def _varint(value: int) -> bytes:
    """Unsigned, seven bits a byte."""
    if value < 0x80:
        return _SHORT_VARINTS[value]
    return write_unsigned_varint(value)
