"""Payload conflicts: events whose id came again with another body (rule 27).

Owns: reading ``tallystick_inbox_conflict``. Must not know: who wrote it, how it is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, RowMapping, select

from tallystick.boundary import schema
from tallystick.boundary.database import reading
from tallystick.boundary.erasure.subject_keys import opened

MOST_ROWS = 1_000


def conflicts(engine: Engine, *, scope: str | None = None, limit: int = MOST_ROWS) -> Sequence[RowMapping]:
    """The newest first: the refused body's place and hash, and where the body that was processed came from."""
    table, inbox = schema.inbox_conflict.c, schema.inbox.c
    query = (
        select(
            *(column for column in table if column.name != "body"),
            inbox.topic.label("first_topic"),
            inbox.partition.label("first_partition"),
            inbox.record_offset.label("first_offset"),
        )
        .select_from(schema.inbox_conflict)
        .outerjoin(schema.inbox, (inbox.scope == table.scope) & (inbox.event_id == table.event_id))
        .order_by(table.first_seen_at_ms.desc(), table.event_id)
        .limit(limit)
    )
    if scope is not None:
        query = query.where(table.scope == scope)
    with reading(engine) as connection:
        return connection.execute(query).mappings().all()


def refused_bodies(engine: Engine, scope: str, event_id: str) -> list[tuple[str, Any]]:
    """Hash and bytes of each refused body of an event; None for a record without a value, ``[erased]`` if it is."""
    table = schema.inbox_conflict.c
    query = select(table.body_hash, table.body).where(table.scope == scope, table.event_id == event_id)
    with reading(engine) as connection:
        rows = connection.execute(query.order_by(table.first_seen_at_ms)).all()
        place = f"conflict {scope} {event_id}"
        return [
            (row.body_hash, None if row.body is None else opened(connection, row.body, place=place)) for row in rows
        ]
