"""Forgetting outbox rows that Kafka has.

Owns: which rows may go, in what steps. Must not know: Kafka, what a schedule is.

A row that is not published never goes. One that is published is still of use for a while: by its event id, which is
added once as long as the row is there, and to publish it again after Kafka was restored from an earlier time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Engine, delete, func, select

from tallystick.boundary import schema
from tallystick.boundary.database import reading
from tallystick.errors import ConfigurationError

STEP_ROWS: Final = 5_000
_outbox = schema.outbox.c


@dataclass(frozen=True, slots=True)
class OutboxSize:
    """Rows of the outbox: all, those that Kafka does not have yet, those that may be forgotten."""

    rows: int
    unpublished: int
    forgettable: int
    oldest_ms: int | None


def outbox_size(engine: Engine, *, before_ms: int) -> OutboxSize:
    """What ``forget_published`` would do; nothing is changed."""
    query = select(
        func.count(),
        func.count().filter(_outbox.published_at_ms.is_(None)),
        func.count().filter(_outbox.published_at_ms < before_ms),
        func.min(_outbox.created_at_ms),
    ).select_from(schema.outbox)
    with reading(engine) as connection:
        return OutboxSize(*connection.execute(query).one())


def forget_published(engine: Engine, *, before_ms: int, on_step: Callable[[int], None] | None = None) -> int:
    """Delete the rows that were published before ``before_ms`` (milliseconds since 1970); the number of rows.

    In steps of 5,000, the oldest first, each a transaction. ``on_step`` is told the rows so far.
    """
    if before_ms <= 0:
        raise ConfigurationError("rows are forgotten before a point in time, in milliseconds since 1970")
    chosen = (
        select(_outbox.sequence)
        .where(_outbox.published_at_ms < before_ms)
        .order_by(_outbox.sequence)
        .limit(STEP_ROWS)
        .scalar_subquery()
    )
    count = 0
    while True:
        with engine.begin() as connection:
            gone = connection.execute(delete(schema.outbox).where(_outbox.sequence.in_(chosen))).rowcount
        count += gone
        if on_step is not None:
            on_step(count)
        if gone < STEP_ROWS:
            return count
