"""Deterministic identities: the same fact has the same id, on every machine, in every replay.

Owns: the id function, the event-id header, derived ids, body hashes and the transactional id's format. All of these
are frozen formats: changing one is a data migration. Must not know: clocks, randomness, code versions (rule 26).

An id is a UUIDv8 (RFC 9562, section 5.8) over BLAKE2b with a 16-byte digest (RFC 7693) of a domain tag and
length-prefixed fields. It is not keyed, so that an auditor can recompute it; an identifier that is sent to a third
party as a secret is keyed separately (rule 36).
"""

from __future__ import annotations

import hashlib
import re
import uuid
from dataclasses import dataclass
from typing import Final, NewType

from tallystick.errors import ConfigurationError

EventId = NewType("EventId", str)
"""A UUID in its canonical 36-character lower-case form."""

EVENT_ID_HEADER: Final = "tallystick-event-id"
"""Kafka record header that carries the event id, as 36 ASCII bytes. Frozen."""

_COMPONENT: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")


def deterministic_id(domain: str, *fields: str | int | bytes) -> EventId:
    """The id of the fact named by ``domain`` and ``fields``.

    Each field is encoded as a type letter, its length in bytes as an unsigned 32-bit big-endian number, and its
    bytes (text as UTF-8, integers as decimal text), so that no two field lists encode alike: ``("ab", "c")`` and
    ``("a", "bc")`` differ, and so do ``1`` and ``"1"``.
    """
    digest = hashlib.blake2b(digest_size=16)
    for letter, raw in ((b"d", domain.encode()), *map(_encode_field, fields)):
        digest.update(letter)
        digest.update(len(raw).to_bytes(4, "big"))
        digest.update(raw)
    raw_id = bytearray(digest.digest())
    raw_id[6] = (raw_id[6] & 0x0F) | 0x80  # version 8
    raw_id[8] = (raw_id[8] & 0x3F) | 0x80  # variant 10
    return EventId(str(uuid.UUID(bytes=bytes(raw_id))))


def _encode_field(field: str | int | bytes) -> tuple[bytes, bytes]:
    if isinstance(field, bool):
        raise TypeError("a bool is not an id field: use 0 or 1")
    if isinstance(field, str):
        return b"s", field.encode()
    if isinstance(field, int):
        return b"i", str(field).encode()
    if isinstance(field, bytes):
        return b"b", field
    raise TypeError(f"an id field is str, int or bytes, not {type(field).__name__}")


def derived_id(parent: EventId, step: str, ordinal: int) -> EventId:
    """The id of the ``ordinal``-th output (from 0) that ``step`` makes of the event ``parent``."""
    return deterministic_id("tallystick.derived", parent, step, ordinal)


def position_id(*, cluster_id: str, topic_id: str, partition: int, offset: int) -> EventId:
    """The id of a record that has no business id.

    The topic *id* stands in it, not the name: a topic that was deleted and made again repeats name and offsets.
    """
    return deterministic_id("tallystick.position", cluster_id, topic_id, partition, offset)


def parse_event_id(raw: bytes) -> EventId:
    """The id in a header's bytes; ``ValueError`` if they are no canonical UUID."""
    text = raw.decode("ascii")
    if str(uuid.UUID(text)) != text:
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
