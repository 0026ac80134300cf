"""Deterministic identities: the same fact has the same id, on every machine, in every replay.

Owns: the id function, the event-id header, derived ids, body hashes and the transactional id's format. All of these
are frozen formats: changing one is a data migration. Must not know: clocks, randomness, code versions (rule 26).

An id is a UUIDv8 (RFC 9562, section 5.8) over BLAKE2b with a 16-byte digest (RFC 7693) of a domain tag and
length-prefixed fields. It is not keyed, so that an auditor can recompute it; an identifier that is sent to a third
party as a secret is keyed separately (rule 36).

Ids of positions and derived ids, which every record that flows needs, are put together of a family and a number. The
family is the first 24 characters, with 74 bits of a hash; the number is the last 12, with 48 bits that are the offset
itself, or the parent's number. So one hash serves all records of a partition, and an id costs a concatenation. Two
families differ unless 74 bits of a hash collide, and within one the numbers differ as the offsets do. (Format 2; format
1 hashed every position and every output, which took most of a record's processor time. No release had it.)
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NewType, cast

from tallystick.errors import ConfigurationError

EventId = NewType("EventId", str)
"""A UUID in its canonical 36-character lower-case form."""

EVENT_ID_HEADER: Final = "tallystick-event-id"
"""Kafka record header that carries the event id, as 36 ASCII bytes. Frozen."""

_CANONICAL: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

_COMPONENT: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")


def deterministic_id(domain: str, *fields: str | int | bytes) -> EventId:
    """The id of the fact named by ``domain`` and ``fields``.

    Each field is encoded as a type letter, its length in bytes as an unsigned 32-bit big-endian number, and its
    bytes (text as UTF-8, integers as decimal text), so that no two field lists encode alike: ``("ab", "c")`` and
    ``("a", "bc")`` differ, and so do ``1`` and ``"1"``.
    """
    return _id_of(_domain(domain) + b"".join(map(_field, fields)))


def _domain(name: str) -> bytes:
    return _prefixed(b"d", name.encode())


def _field(field: str | int | bytes) -> bytes:
    if isinstance(field, bool):
        raise TypeError("a bool is not an id field: use 0 or 1")
    if isinstance(field, str):
        return _text(field)
    if isinstance(field, int):
        return _prefixed(b"i", str(field).encode())
    if isinstance(field, bytes):
        return _prefixed(b"b", field)
    raise TypeError(f"an id field is str, int or bytes, not {type(field).__name__}")


def _text(field: str) -> bytes:
    return _prefixed(b"s", field.encode())


def _prefixed(letter: bytes, raw: bytes) -> bytes:
    return letter + len(raw).to_bytes(4, "big") + raw


_VARIANT_10: Final = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))
"""The first digit of a UUID's fourth group with its two highest bits replaced by 10."""


def _id_of(encoded: bytes) -> EventId:
    # ``uuid.UUID`` takes three times as long.
    digits = hashlib.blake2b(encoded, digest_size=16).hexdigest()
    return EventId(
        f"{digits[:8]}-{digits[8:12]}-8{digits[13:16]}-{_VARIANT_10[digits[16]]}{digits[17:20]}-{digits[20:]}"
    )


_DERIVED: Final = _domain("tallystick.derived.2")
_POSITION: Final = _domain("tallystick.position.2")

_FAMILY_END: Final = 24
"""Where the number begins: behind the fourth hyphen of a UUID."""
_VERSION_AT: Final = 14
_NUMBER_BITS: Final = 48
_NUMBER_MASK: Final = (1 << _NUMBER_BITS) - 1
_LOW_BITS: Final = 12
_LOW_MASK: Final = (1 << _LOW_BITS) - 1
_LOW: Final = tuple(f"{low:03x}" for low in range(1 << _LOW_BITS))


def derived_id(parent: EventId, step: str, ordinal: int) -> EventId:
    """The id of the ``ordinal``-th output (from 0) that ``step`` makes of the event ``parent``.

    An id of ours (version 8) hands its number on to its children. Of any other UUID, whose last bits may be the same
    in all, the whole is hashed.
    """
    if parent[_VERSION_AT] == "8":
        return cast("EventId", _derived_family(parent[:_FAMILY_END], step, ordinal) + parent[_FAMILY_END:])
    return _id_of(_DERIVED + _text(parent) + _place_in_step(step, ordinal))


def derived_ids(parents: Sequence[EventId], step: str, ordinal: int) -> list[EventId]:
    """The ``derived_id`` of each of the parents."""
    families: dict[str, str] = {}
    place = _place_in_step(step, ordinal)
    ids: list[EventId] = []
    for parent in parents:
        if parent[_VERSION_AT] != "8":
            ids.append(_id_of(_DERIVED + _text(parent) + place))
            continue
        before = parent[:_FAMILY_END]
        family = families.get(before)
        if family is None:
            family = families[before] = _family_derived_from(before, place)
        ids.append(cast("EventId", family + parent[_FAMILY_END:]))
    return ids


def _family_derived_from(family: str, place: bytes) -> str:
    return _id_of(_DERIVED + _text(family) + place)[:_FAMILY_END]


@lru_cache(maxsize=16_384, typed=True)
def _derived_family(family: str, step: str, ordinal: int) -> str:
    return _family_derived_from(family, _place_in_step(step, ordinal))


@lru_cache(maxsize=4096, typed=True)
def _place_in_step(step: str, ordinal: int) -> bytes:
    return _field(step) + _field(ordinal)


def position_id(*, cluster_id: str, topic_id: str, partition: int, offset: int) -> EventId:
    """The id of a record that has no business id.

    The topic *id* stands in it, not the name: a topic that was deleted and made again repeats name and offsets.
    """
    return PositionIds(cluster_id=cluster_id, topic_id=topic_id, partition=partition).at(offset)


class PositionIds:
    """The ``position_id`` of each offset of one partition, and what is derived from them, without the way over them."""

    __slots__ = ("_before", "_families")

    def __init__(self, *, cluster_id: str, topic_id: str, partition: int) -> None:
        self._before = _POSITION + _field(cluster_id) + _field(topic_id) + _field(partition)
        self._families: dict[int, str] = {}  # more than one only past 2**48 records

    def at(self, offset: int) -> EventId:
        return cast("EventId", f"{self._family(offset >> _NUMBER_BITS)}{offset & _NUMBER_MASK:012x}")

    def of(self, offsets: Sequence[int]) -> list[EventId]:
        """The ids of offsets that ascend."""
        return self._numbered(offsets, None)

    def derived(self, offsets: Sequence[int], step: str, ordinal: int) -> list[EventId]:
        """The ``derived_id`` of each of ``of(offsets)``."""
        return self._numbered(offsets, (step, ordinal))

    def _family(self, high: int) -> str:
        family = self._families.get(high)
        if family is None:
            family = self._families[high] = _id_of(self._before + _field(high))[:_FAMILY_END]
        return family

    def _numbered(self, offsets: Sequence[int], place: tuple[str, int] | None) -> list[EventId]:
        """All but the last three digits are the same for 4,096 offsets in a row."""
        if not offsets:
            return []
        gapless = list(offsets) == list(range(offsets[0], offsets[0] + len(offsets)))  # as they mostly are
        if not gapless and list(offsets) != sorted(offsets):
            raise ValueError("offsets of one partition that do not ascend")
        ids: list[EventId] = []
        start = 0
        while start < len(offsets):
            first = offsets[start] >> _LOW_BITS
            end = bisect_left(offsets, (first + 1) << _LOW_BITS, start)
            family = self._family(offsets[start] >> _NUMBER_BITS)
            if place is not None:
                family = _derived_family(family, *place)
            head = f"{family}{first & (_NUMBER_MASK >> _LOW_BITS):09x}"
            if gapless:
                low = offsets[start] & _LOW_MASK
                ids += cast("list[EventId]", [head + digits for digits in _LOW[low : low + end - start]])
            else:
                ids += cast("list[EventId]", [head + _LOW[offset & _LOW_MASK] for offset in offsets[start:end]])
            start = end
        return ids


def parse_event_id(raw: bytes) -> EventId:
    """The id in a header's bytes; ``ValueError`` if they are no canonical UUID."""
    text = raw.decode("ascii")
    if not _CANONICAL.fullmatch(text):
        raise ValueError(f"not a canonical UUID: {text!r}")
    return EventId(text)


def body_hash(body: bytes) -> str:
    """BLAKE2b-256 of the bytes, in hexadecimal: the same id with another body hash is a conflict (rule 27)."""
    return hashlib.blake2b(body, digest_size=32).hexdigest()


@dataclass(frozen=True, slots=True)
class TransactionalId:
    """Who a transactional producer is: ``application/group/slot/lane``. Frozen.

    It is stable over restarts, so that a restarted worker fences its own past at once (rule 5). Each component
    matches ``[A-Za-z0-9._-]{1,100}``, so that the text splits in one way only.
    """

    application: str
    group: str
    slot: str
    lane: int

    def __post_init__(self) -> None:
        for name in ("application", "group", "slot"):
            value = getattr(self, name)
            if not _COMPONENT.fullmatch(value):
                raise ConfigurationError(
                    f"{name} {value!r} is not 1 to 100 characters of letters, digits, '.', '_' and '-'", rule=5
                )
        if self.lane < 0:
            raise ConfigurationError(f"lane {self.lane} is negative", rule=5)

    def __str__(self) -> str:
        return f"{self.application}/{self.group}/{self.slot}/{self.lane}"

    @classmethod
    def parse(cls, text: str) -> TransactionalId:
        parts = text.split("/")
        if len(parts) != 4 or not parts[3].isdecimal():
            raise ConfigurationError(f"{text!r} is not application/group/slot/lane", rule=5)
        return cls(application=parts[0], group=parts[1], slot=parts[2], lane=int(parts[3]))


def lane_of(partition: int, lanes: int) -> int:
    """The lane that owns a partition number, the same for all co-partitioned topics. Frozen."""
    return partition % lanes
