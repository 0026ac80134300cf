"""Random messages of any API and version, from the schema alone: the same for the same seed."""

from __future__ import annotations

import dataclasses
import datetime
import types
import typing
import uuid
from random import Random
from typing import Any, Final

from crc32c import crc32c
from kio.schema.errors import ErrorCode

from tallystick.wire.batch import CRC_FROM
from tallystick.wire.compression import CODECS
from tallystick.wire.records import BatchSpec, encode_batch

_BITS: Final = {"int8": 8, "int16": 16, "int32": 32, "int64": 64}
CRC_AT: Final = CRC_FROM - 4
_WORDS: Final = ("", "a", "events", "kafka-cluster", "*", "User:alice", "zoë", "x" * 300)


def random_message(entity: Any, random: Random, *, rows: int = 3) -> Any:
    """An entity of this class whose lists have up to ``rows`` rows, and at least one at the top."""
    return _entity(entity, random, rows, least=1)


def _entity(entity: Any, random: Random, rows: int, *, least: int = 0) -> Any:
    hints = typing.get_type_hints(entity)
    return entity(
        **{
            item.name: _value(hints[item.name], str(item.metadata.get("kafka_type", "")), random, rows, least)
            for item in dataclasses.fields(entity)
        }
    )


def _value(hint: Any, kafka_type: str, random: Random, rows: int, least: int) -> Any:
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if types.NoneType in parts and not least and random.random() < 0.2:
        return None
    for part in parts:
        if typing.get_origin(part) is tuple:
            (row, *_) = typing.get_args(part)
            count = random.randint(least, rows)
            return tuple(_value(row, kafka_type, random, max(rows - 1, 1), 0) for _ in range(count))
        if dataclasses.is_dataclass(part):
            return _entity(part, random, rows)
    return _scalar(kafka_type, random)


def _scalar(kafka_type: str, random: Random) -> Any:
    if kafka_type in _BITS:
        bits = _BITS[kafka_type]
        return random.choice((0, 1, -1, 2 ** (bits - 1) - 1, -(2 ** (bits - 1)), random.randint(0, 100)))
    match kafka_type:
        case "uint16" | "uint32":
            return random.randint(0, 60_000)
        case "bool":
            return random.random() < 0.5
        case "float64":
            return random.uniform(-1, 1)
        case "string":
            return random.choice(_WORDS)
        case "bytes":
            return random.randbytes(random.randint(0, 80))
        case "records":
            return random_records(random)
        case "uuid":
            return uuid.UUID(bytes=random.randbytes(16), version=4)
        case "error_code":
            return random.choice(list(ErrorCode))
        case "timedelta_i32" | "timedelta_i64":
            return datetime.timedelta(milliseconds=random.randint(0, 1_000))
        case "datetime_i64":
            return datetime.datetime.fromtimestamp(random.randint(0, 2**31), tz=datetime.UTC)
    raise AssertionError(f"no value of Kafka's type {kafka_type!r}")


def random_records(random: Random) -> bytes:
    """What a Produce request may hold: mostly a batch, mostly with something wrong about it that its CRC covers."""
    kind = random.random()
    if kind < 0.2:
        return random.randbytes(random.randint(0, 80))
    count = random.randint(1, 4)
    spec = BatchSpec(
        base_offset=random.choice((0, 0, 0, 7)),
        producer_id=random.choice((-1, -1, 0, 5, 1_000)),
        producer_epoch=random.choice((-1, 0, 1, 32_767)),
        base_sequence=random.choice((-1, 0, 0, 3, 2**31 - 1)),
        transactional=random.random() < 0.2,
        control=random.random() < 0.1,
        compression=random.choice(sorted(CODECS)),
        timestamp_ms=random.choice((0, 1, 1_700_000_000_000, 2**63 - 1, -1)),
    )
    batch = encode_batch([(b"k", random.randbytes(random.randint(0, 30))) for _ in range(count)], spec)
    if kind < 0.5:
        return batch
    damaged = bytearray(batch)
    for _ in range(random.randint(1, 3)):
        damaged[random.randrange(CRC_FROM, len(damaged))] ^= random.choice((1, 0x80, 0xFF))
    if kind < 0.9:
        damaged[CRC_AT:CRC_FROM] = crc32c(memoryview(damaged)[CRC_FROM:]).to_bytes(4, "big")
    return bytes(damaged) + random.choice((b"", b"", b"\0", batch))
