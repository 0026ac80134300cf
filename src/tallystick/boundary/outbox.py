"""Records that leave with a SQL transaction: written as rows beside the business rows, published afterwards.

Owns: writing ``tallystick_outbox``. Must not know: Kafka (``outbox_relay`` publishes).
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from tallystick.boundary import schema
from tallystick.boundary.outbox_wakeup import call
from tallystick.boundary.statements import insert
from tallystick.boundary.stored_outputs import encode_headers
from tallystick.clock import Clock, SystemClock
from tallystick.pipeline.records import Output

_SYSTEM_CLOCK = SystemClock()


def add_to_outbox(connection: Connection, outputs: Sequence[Output], *, clock: Clock = _SYSTEM_CLOCK) -> int:
    """Add records in this order, inside the caller's transaction; returns how many were new.

    An event id that is there already is left alone: the id names the fact, and it leaves once.
    """
    added = 0
    for output in outputs:
        statement = insert(connection, schema.outbox).values(
            event_id=output.event_id,
            topic=output.topic,
            record_key=output.key,
            record_value=output.value,
            headers=encode_headers(output.headers),
            partition=output.partition,
            timestamp_ms=output.timestamp_ms,
            created_at_ms=clock.now_ms(),
        )
        statement = statement.on_conflict_do_nothing(index_elements=["event_id"])
        added += connection.execute(statement.returning(schema.outbox.c.sequence)).scalar_one_or_none() is not None
    if added:
        call(connection)
    return added
