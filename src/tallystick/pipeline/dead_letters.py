"""Dead letters as they are read back: what failed, why, where it came from, and whether it was sent again.

Owns: ``DeadLetter``, the receipt that settles one, and the match of both. Must not know: Kafka's client.

``failures`` writes dead letters; this module reads them. A letter that is sent again gets a *receipt* in its own
topic, in the same transaction as the record that goes back: so it is either open, or settled and its record is
back, and a run that died in between has done neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from tallystick.errors import ConfigurationError
from tallystick.ids import EVENT_ID_HEADER, EventId, derived_id, parse_event_id
from tallystick.pipeline.failures import FAILURE_HEADER_PREFIX
from tallystick.pipeline.records import Headers, Output, Record

RECEIPT_HEADER: Final = "tallystick-redriven-letter"
"""On a receipt: ``partition@offset`` of the letter that it settles. Frozen."""
RECEIPT_VALUE_HEADER: Final = "tallystick-redriven-value"
"""On a receipt: ``as-it-came`` or ``changed``."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """``record`` is the letter itself; the other fields are where its original stood and why it failed.

    ``timestamp_ms`` and ``headers`` are those of the original, ``event_id`` its identity.
    """

    record: Record
    event_id: EventId
    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    step: str
    tries: int
    cause: str
    stack: str

    @property
    def place(self) -> str:
        """Where the letter lies, as commands name it: ``partition@offset``."""
        return f"{self.record.partition}@{self.record.offset}"

    @property
    def headers(self) -> Headers:
        """The original's, without what was added when it failed."""
        added = (FAILURE_HEADER_PREFIX, EVENT_ID_HEADER)
        return tuple(header for header in self.record.headers if not header[0].startswith(added))

    @classmethod
    def of(cls, record: Record) -> Self | None:
        """The letter in a record; None if it is none: a receipt, or something that another program wrote."""
        facts = {
            name.removeprefix(FAILURE_HEADER_PREFIX): value.decode(errors="replace")
            for name, value in record.headers
            if name.startswith(FAILURE_HEADER_PREFIX)
        }
        try:
            return cls(
                record=record,
                event_id=parse_event_id(facts["event-id"].encode()),
                topic=facts["topic"],
                partition=int(facts["partition"]),
                offset=int(facts["offset"]),
                timestamp_ms=int(facts["timestamp-ms"]),
                step=facts["step"],
                tries=int(facts["tries"]),
                cause=facts["cause"],
                stack=facts["stack"],
            )
        except (KeyError, ValueError):
            return None

    def back(self, value: bytes | None) -> Output:
        """The original on its way back: same topic, partition, key, time, headers and id; the value is given."""
        return Output(
            topic=self.topic,
            key=self.record.key,
            value=value,
            event_id=self.event_id,
            headers=self.headers,
            partition=self.partition,
            timestamp_ms=self.timestamp_ms if self.timestamp_ms >= 0 else None,
        )

    def receipt(self, *, changed: bool) -> Output:
        """What settles the letter. It has no failure headers, so that nobody takes it for another letter."""
        return Output(
            topic=self.record.topic,
            key=self.record.key,
            value=b"",
            event_id=derived_id(self.record.event_id, f"redriven.{self.place}", 0),
            headers=(
                (RECEIPT_HEADER, self.place.encode()),
                (RECEIPT_VALUE_HEADER, b"changed" if changed else b"as-it-came"),
            ),
            partition=self.record.partition,
        )


@dataclass(frozen=True, slots=True)
class Letters:
    """A dead-letter topic as it stands. ``others`` counts records that are neither letter nor receipt."""

    open: tuple[DeadLetter, ...]
    settled: tuple[DeadLetter, ...]
    others: int

    @classmethod
    def of(cls, records: Iterable[Record]) -> Self:
        """From all records of the topic, in any order."""
        letters, receipts, others = [], set(), 0
        for record in records:
            place = dict(record.headers).get(RECEIPT_HEADER)
            letter = DeadLetter.of(record) if place is None else None
            if place is not None:
                receipts.add(place.decode(errors="replace"))
            elif letter is not None:
                letters.append(letter)
            else:
                others += 1
        letters.sort(key=lambda letter: (letter.record.partition, letter.record.offset))
        return cls(
            open=tuple(letter for letter in letters if letter.place not in receipts),
            settled=tuple(letter for letter in letters if letter.place in receipts),
            others=others,
        )

    def chosen(self, names: Iterable[str]) -> tuple[DeadLetter, ...]:
        """The open letters with these names: ``partition@offset``, or the event id of the original.

        ``ConfigurationError`` names the first that is not open here.
        """
        found: dict[str, DeadLetter] = {}
        for name in names:
            matching = [letter for letter in self.open if name in (letter.place, letter.event_id)]
            if not matching:
                known = any(name in (letter.place, letter.event_id) for letter in self.settled)
                raise ConfigurationError(
                    f"{name} was sent back before" if known else f"there is no open dead letter {name}",
                    remedy="'tallystick dlq list' shows the open ones as PARTITION@OFFSET and by event id",
                )
            found |= {letter.place: letter for letter in matching}
        return tuple(found.values())
