"""What flows through a pipeline: a record read, a record that a step wants written, a record to be written.

Owns: the value types that every part of the pipeline and the boundary share. Must not know: librdkafka.
"""

from __future__ import annotations

from typing import Final

import msgspec

from tallystick.ids import EventId

Headers = tuple[tuple[str, bytes], ...]

UNSTAMPED: Final = 0
"""A timestamp in a column that says no more than "the moment of writing". librdkafka takes it for that."""


# msgspec makes one in a tenth of the time of a frozen dataclass, and there are two for each record that flows.


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record as read from Kafka, with its event id already resolved (header first, else its position)."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int
    event_id: EventId


class Emit(msgspec.Struct, frozen=True, gc=False):
    """One record that a step wants written, encoded. Without ``event_id`` it gets the derived id of its place.

    ``partition`` None lets the key decide, and ``timestamp_ms`` None inherits that of the input.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    event_id: EventId | None = None
    headers: Headers = ()
    partition: int | None = None
    timestamp_ms: int | None = None


class Output(msgspec.Struct, frozen=True, gc=False):
    """One record to be written. Its event id travels in the headers; ``partition`` None lets the key decide.

    ``timestamp_ms`` None is the moment of writing, unless a processor returns it for a record: then it inherits.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    event_id: EventId
    headers: Headers = ()
    partition: int | None = None
    timestamp_ms: int | None = None
