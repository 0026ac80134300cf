"""The bytes of one batch of events, plain or sealed under the keys of their subjects.

Owns: which key is for which event. Must not know: the inbox's statements, what becomes of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Final

from sqlalchemy import Connection

from tallystick.boundary.erasure.sealed import DataKey, keyed_hash, seal
from tallystick.boundary.erasure.subject_keys import ERASED, SubjectKeys, is_hash_of, is_keyed, opened
from tallystick.ids import body_hash
from tallystick.pipeline.records import Record

SubjectOf = Callable[[Record], str | None]
"""Whose personal data a record holds; None if it holds nobody's."""

TOMBSTONE_HASH: Final = "tombstone"
"""Stands for the hash of a record without a value, which is not the same as an empty one."""


@dataclass(frozen=True, slots=True)
class BatchSeal:
    """``keys`` by event id: of events that are about nobody there is none."""

    scope: str
    keys: Mapping[str, DataKey] = field(default_factory=dict)

    def digests(self, records: Sequence[Record]) -> list[str]:
        """The body hash of each record."""
        if not self.keys:
            return [TOMBSTONE_HASH if record.value is None else body_hash(record.value) for record in records]
        return [self._digest(record) for record in records]

    def outputs(self, event_id: str, encoded: bytes) -> bytes:
        """Stored outputs as they go into the event's row."""
        key = self.keys.get(event_id)
        return encoded if key is None else seal(key, encoded, place=self._place("inbox", event_id))

    def refused(self, record: Record) -> bytes | None:
        """The body of a conflict as it goes into its row."""
        key = self.keys.get(record.event_id)
        if key is None or record.value is None:
            return record.value
        return seal(key, record.value, place=self._place("conflict", record.event_id))

    def opened_outputs(self, connection: Connection, event_id: str, stored: bytes) -> bytes | None:
        """Stored outputs as they were; None if they are erased."""
        raw = opened(connection, stored, place=self._place("inbox", event_id))
        return None if raw == ERASED else raw

    def is_same_body(self, connection: Connection, record: Record, digest: str, stored: str) -> bool:
        """Whether the record has the body of the hash that is stored, under whichever key that was."""
        if digest == stored:
            return True
        return (is_keyed(digest) or is_keyed(stored)) and is_hash_of(connection, stored, record.value)

    def _digest(self, record: Record) -> str:
        if record.value is None:
            return TOMBSTONE_HASH
        key = self.keys.get(record.event_id)
        return body_hash(record.value) if key is None else keyed_hash(key, record.value)

    def _place(self, kind: str, event_id: str) -> str:
        return f"{kind} {self.scope} {event_id}"


@dataclass(frozen=True, slots=True)
class Sealing:
    """How an effect seals: ``subject_of`` None for one that does not."""

    scope: str
    subject_of: SubjectOf | None
    _keys: SubjectKeys = field(default_factory=SubjectKeys)

    def __post_init__(self) -> None:
        if self.subject_of is not None:
            import_module("cryptography")  # missing, it is missed at the start, and not with the first record

    def of(self, connection: Connection, records: Sequence[Record], *, now_ms: int) -> BatchSeal:
        """The batch's keys, those of new subjects made, held until the transaction ends."""
        if self.subject_of is None:
            return BatchSeal(self.scope)
        subjects: dict[str, str] = {}
        for record in records:  # of an event that comes twice, the first says whose it is
            if record.event_id not in subjects and (subject := self.subject_of(record)) is not None:
                subjects[record.event_id] = subject
        keys = self._keys.of(connection, set(subjects.values()), now_ms=now_ms)
        return BatchSeal(self.scope, {event_id: keys[subject] for event_id, subject in subjects.items()})
