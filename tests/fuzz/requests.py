"""Requests that no client would send, made from those that one would: cut, flipped, lengthened, of a wrong version.

Owns: what is sent. The same seed makes the same bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from kio.index import load_request_schema
from kio.schema.index import api_key_map, schema_name_map
from kio.static.constants import EntityType
from tests.support.messages import random_message

from tallystick.wire.frames import LENGTH_BYTES, read_request_header, write_request

_INTERESTING: Final = (
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\xff",
    b"\x80\0\0\0",
    b"\xff\xff\xff\xff\x07",
    b"\xff\xff\xff\xff\x0f",
    b"\0",
    b"\x7f\xff",
    b"\0\0\xff\xff",
)
_HEADER_BYTES: Final = 8
ALL_REQUESTS: Final[tuple[tuple[int, int], ...]] = tuple(
    (key, version)
    for key, name in api_key_map.items()
    for version, kinds in schema_name_map[name].items()
    if EntityType.request in kinds
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """Bytes for the wire, with the length in front. ``is_sound``: what was sent is a request that is whole."""

    raw: bytes
    key: int
    version: int
    correlation_id: int
    is_sound: bool
    how: str


def attempt(random: Random, correlation_id: int, *, keys: frozenset[int]) -> Attempt:
    """One request of one of these keys, or in one of twenty cases of any, perhaps damaged."""
    choice = ALL_REQUESTS if random.random() < 0.05 else [entry for entry in ALL_REQUESTS if entry[0] in keys]
    key, version = random.choice(choice)
    message = random_message(load_request_schema(key, version), random, rows=random.randint(1, 5))
    frame = write_request(correlation_id, random.choice((None, "", "fuzz")), message)[LENGTH_BYTES:]
    how = random.choices(
        ("whole", "cut", "flipped", "spliced", "longer", "version", "length"), (40, 12, 18, 14, 6, 5, 5)
    )[0]
    damaged, length = _damaged(how, frame, random), None
    if how == "length":
        length = random.choice((-1, 0, 7, 2**31 - 1, len(frame) + 1, len(frame) - 1, 20_000))
    prefix = struct.pack(">i", len(damaged) if length is None else length)
    return Attempt(prefix + damaged, key, version, correlation_id, how in ("whole", "longer"), how)


def _damaged(how: str, frame: bytes, random: Random) -> bytes:
    body_at = read_request_header(frame).body_at
    match how:
        case "cut":
            return frame[: random.randint(_HEADER_BYTES, len(frame))]
        case "flipped":
            changed = bytearray(frame)
            for _ in range(random.randint(1, 4)):
                changed[random.randrange(body_at - 1, len(frame))] ^= random.choice((1, 2, 0x7F, 0x80, 0xFF))
            return bytes(changed)
        case "spliced":
            at = random.randint(body_at, len(frame))
            return frame[:at] + random.choice(_INTERESTING) + frame[at + random.randint(0, 5) :]
        case "longer":
            return frame + random.randbytes(random.randint(1, 40))
        case "version":
            return frame[:2] + struct.pack(">h", random.choice((-1, 99, 32_767))) + frame[4:]
        case _:
            return frame


def keys_of(apis: Any) -> frozenset[int]:
    return frozenset(api.key for api in apis)
