"""What flows through a pipeline: a record read and a record to be written.

Owns: the two value types that every part of the pipeline and the boundary share. Must not know: librdkafka.
"""

from __future__ import annotations

import msgspec

from tallystick.ids import EventId

Headers = tuple[tuple[str, bytes], ...]


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


class Output(msgspec.Struct, frozen=True, gc=False):
    """One record to be written. Its event id travels in the headers; ``partition`` None lets the key decide."""

    topic: str
    key: bytes | None
    value: bytes | None
    event_id: EventId
    headers: Headers = ()
    partition: int | None = None
    timestamp_ms: int | None = None
