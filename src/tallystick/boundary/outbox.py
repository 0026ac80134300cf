"""Records that leave with a SQL transaction: written as rows beside the business rows, published afterwards.

Owns: writing ``tallystick_outbox``. Must not know: Kafka (``outbox_relay`` publishes).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from tallystick.boundary import schema
from tallystick.boundary.erasure.sealed import seal as sealed
from tallystick.boundary.erasure.subject_keys import SubjectKeys
from tallystick.boundary.outbox_wakeup import call
from tallystick.boundary.statements import insert
from tallystick.boundary.stored_outputs import encode_headers
from tallystick.clock import Clock, SystemClock
from tallystick.pipeline.records import Output

_SYSTEM_CLOCK = SystemClock()

Seal = Callable[[bytes | None, str], bytes | None]


def add_to_outbox(
    connection: Connection, outputs: Sequence[Output], *, subject: str | None = None, clock: Clock = _SYSTEM_CLOCK
) -> int:
    """Add records in this order, inside the caller's transaction; returns how many were new.

    An event id that is there already is left alone: the id names the fact, and it leaves once. ``subject`` is whose
    personal data is in them: key, value and headers are kept sealed, and published as they are.
    """
    seal = _plain if subject is None else _sealing(connection, subject, now_ms=clock.now_ms())
    added = 0
    for output in outputs:
        statement = insert(connection, schema.outbox).values(
            event_id=output.event_id,
            topic=output.topic,
            record_key=seal(output.key, outbox_place("key", output.event_id)),
            record_value=seal(output.value, outbox_place("value", output.event_id)),
            headers=seal(encode_headers(output.headers), outbox_place("headers", output.event_id)),
            partition=output.partition,
            timestamp_ms=output.timestamp_ms,
            created_at_ms=clock.now_ms(),
        )
        statement = statement.on_conflict_do_nothing(index_elements=["event_id"])
        added += connection.execute(statement.returning(schema.outbox.c.sequence)).scalar_one_or_none() is not None
    if added:
        call(connection)
    return added


def outbox_place(part: str, event_id: str) -> str:
    """Where the bytes of a row are sealed to."""
    return f"outbox {part} {event_id}"


def _plain(raw: bytes | None, _place: str) -> bytes | None:
    return raw


def _sealing(connection: Connection, subject: str, *, now_ms: int) -> Seal:
    key = SubjectKeys().of(connection, [subject], now_ms=now_ms)[subject]
    return lambda raw, place: None if raw is None else sealed(key, raw, place=place)
