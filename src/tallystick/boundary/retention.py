"""Forgetting inbox rows that nothing can ask for any more, and saying how far that went.

Owns: which rows may go, in what steps. Must not know: where the offsets come from, what a schedule is.

A row may go when both ways back are closed: its offset lies below what its group has committed, so that only a reset
can read it again, and it is older than the time within which the business sends an event twice. The horizon moves in
the transaction that deletes, so that no moment exists in which an event is forgotten and nobody knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Engine, and_, delete, func, or_, select

from tallystick.boundary import schema
from tallystick.boundary.database import reading
from tallystick.boundary.horizons import Horizons, raise_horizons
from tallystick.errors import ConfigurationError

STEP_ROWS: Final = 5_000
_inbox = schema.inbox.c


@dataclass(frozen=True, slots=True)
class InboxSize:
    """Rows of one scope, and how many of them may be forgotten."""

    scope: str
    rows: int
    forgettable: int
    oldest_ms: int | None


def inbox_sizes(
    engine: Engine, *, scope: str | None, committed: Mapping[tuple[str, int], int], before_ms: int
) -> list[InboxSize]:
    """What ``forget`` would do; nothing is changed. All scopes for None."""
    query = select(
        _inbox.scope,
        func.count(),
        func.count().filter(_forgettable(committed, before_ms)),
        func.min(_inbox.created_at_ms),
    ).group_by(_inbox.scope)
    if scope is not None:
        query = query.where(_inbox.scope == scope)
    with reading(engine) as connection:
        return [InboxSize(*row) for row in connection.execute(query.order_by(_inbox.scope))]


def count_known(engine: Engine, scope: str, event_ids: Sequence[str]) -> int:
    """How many of these events the inbox remembers."""
    count = 0
    with reading(engine) as connection:
        for start in range(0, len(event_ids), STEP_ROWS):
            some = set(event_ids[start : start + STEP_ROWS])
            query = select(func.count()).where(_inbox.scope == scope, _inbox.event_id.in_(some))
            count += int(connection.execute(query).scalar_one())
    return count


def forget(
    engine: Engine,
    *,
    scope: str,
    committed: Mapping[tuple[str, int], int],
    before_ms: int,
    on_step: Callable[[int], None] | None = None,
) -> int:
    """Delete the rows of ``scope`` that were made before ``before_ms`` (milliseconds since 1970) and whose offset is
    below ``committed`` (the group's next offset by topic and partition); the number of rows.

    Rows without a position, which ``inbox.once`` makes, go by age alone. Rows of partitions that ``committed`` does
    not name stay. In steps of 5,000, each a transaction: a run that dies has forgotten whole steps. ``on_step`` is
    told the rows so far.
    """
    if before_ms <= 0:
        raise ConfigurationError("rows are forgotten before a point in time, in milliseconds since 1970")
    count = 0
    chosen = select(_inbox.event_id).where(_inbox.scope == scope, _forgettable(committed, before_ms)).limit(STEP_ROWS)
    gone = (
        delete(schema.inbox)
        .where(_inbox.scope == scope, _inbox.event_id.in_(chosen.scalar_subquery()))
        .returning(_inbox.topic, _inbox.partition, _inbox.record_offset)
    )
    while True:
        with engine.begin() as connection:
            rows = connection.execute(gone).all()
            raise_horizons(connection, scope, _horizons(rows, before_ms))
        count += len(rows)
        if on_step is not None:
            on_step(count)
        if len(rows) < STEP_ROWS:
            return count


def _forgettable(committed: Mapping[tuple[str, int], int], before_ms: int) -> ColumnElement[bool]:
    read_past = [
        and_(_inbox.topic == topic, _inbox.partition == partition, _inbox.record_offset < offset)
        for (topic, partition), offset in sorted(committed.items())
    ]
    return and_(_inbox.created_at_ms < before_ms, or_(_inbox.topic.is_(None), *read_past))


def _horizons(rows: Any, before_ms: int) -> Horizons:
    offsets: dict[tuple[str, int], int] = {}
    for topic, partition, offset in rows:
        if topic is not None:
            offsets[topic, partition] = max(offsets.get((topic, partition), 0), offset + 1)
    return Horizons(offsets, before_ms if rows else 0)
