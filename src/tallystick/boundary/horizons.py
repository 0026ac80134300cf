"""How far back an inbox remembers: what it has forgotten, it cannot tell from what is new.

Owns: ``tallystick_inbox_horizon``, and the two questions that a new event is asked. Must not know: how rows are
forgotten (``retention`` does), what becomes of an event that is too old.

Two horizons, because an event comes back in two ways. The *offset horizon* of a partition: a consumer group that is
set back below it reads records whose rows are gone. The *business horizon* of a scope, a point in time: the same event
sent anew, months later, at a new offset, is known only as long as its row is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

import structlog
from sqlalchemy import Connection, case, select

from tallystick.boundary import schema
from tallystick.boundary.statements import insert
from tallystick.errors import ConfigurationError, TallystickError
from tallystick.pipeline.records import Record

OccurredAt = Callable[[Record], int]
"""When the event of a record occurred, in milliseconds since 1970; 0 or less if that is not known."""

_log = structlog.get_logger(__name__)

_BUSINESS: Final = ("", -1)
"""The row of the business horizon: no topic has this name."""
_table = schema.inbox_horizon.c


class BelowHorizon(ConfigurationError):
    """A record is read again whose row the inbox has forgotten: it cannot be told from a new one."""


class TooOld(TallystickError):
    """An event occurred before the business horizon: it may have been processed and forgotten."""


@dataclass(frozen=True, slots=True)
class Horizons:
    """Of one scope. ``offsets``: by topic and partition, the first offset that is not forgotten; ``before_ms``: events
    that occurred before it may be forgotten, 0 if none is."""

    offsets: Mapping[tuple[str, int], int] = field(default_factory=dict)
    before_ms: int = 0

    @classmethod
    def read(cls, connection: Connection, scope: str) -> Self:
        """Ask after the event's row was inserted: a row that was deleted meanwhile has its horizon in place then."""
        query = select(_table.topic, _table.partition, _table.horizon).where(_table.scope == scope)
        return cls.of(tuple(row) for row in connection.execute(query))

    @classmethod
    def of(cls, rows: Iterable[tuple[str, int, int]]) -> Self:
        """From rows of topic, partition and horizon."""
        found = {(topic, partition): horizon for topic, partition, horizon in rows}
        before_ms = found.pop(_BUSINESS, 0)
        return cls(found, before_ms)

    def is_replay(self, record: Record) -> bool:
        """Whether it stands where the inbox has forgotten: read again after a reset, it would be processed again."""
        return record.offset < self.offsets.get((record.topic, record.partition), 0)

    def is_too_old(self, occurred_at_ms: int) -> bool:
        """Whether an event of that time may have been processed and forgotten. Without a time (0 or less): no."""
        return 0 < occurred_at_ms < self.before_ms


def raise_horizons(connection: Connection, scope: str, horizons: Horizons) -> None:
    """Move horizons forward, never back, in the transaction that forgets what lies behind them."""
    rows = [
        {"scope": scope, "topic": topic, "partition": partition, "horizon": horizon}
        for (topic, partition), horizon in sorted({**horizons.offsets, _BUSINESS: horizons.before_ms}.items())
        if horizon > 0
    ]
    if not rows:
        return
    statement = insert(connection, schema.inbox_horizon)
    later = case((statement.excluded.horizon > _table.horizon, statement.excluded.horizon), else_=_table.horizon)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["scope", "topic", "partition"], set_={"horizon": later}), rows
    )


@dataclass(frozen=True, slots=True)
class Recall:
    """What an effect does with an event that its inbox may have forgotten.

    ``allowed`` names the decision to process such events again (a re-rating, say); it is logged with each batch.
    """

    scope: str
    occurred_at_ms: OccurredAt
    allowed: str | None = None

    def too_old(self, horizons: Horizons, fresh: Sequence[Record]) -> dict[str, TooOld]:
        """Of the records whose rows were just inserted, by event id, those that must not be processed; ``horizons``
        as they stand after that.

        ``BelowHorizon`` if one stands below its offset horizon: then somebody set the group back, and all of it
        would be done again.
        """
        if not fresh or not (horizons.offsets or horizons.before_ms):
            return {}
        replays = [record for record in fresh if horizons.is_replay(record)]
        old = [record for record in fresh if horizons.is_too_old(self.occurred_at_ms(record))]
        if self.allowed is not None:
            if replays or old:
                count = len({record.event_id for record in replays + old})
                _log.warning("inbox.processed-again", effect=self.scope, records=count, allowed_by=self.allowed)
            return {}
        if replays:
            first = replays[0]
            raise BelowHorizon(
                f"{first.topic}-{first.partition}@{first.offset} lies below offset "
                f"{horizons.offsets[first.topic, first.partition]}, up to which the inbox of {self.scope!r} has "
                "forgotten its events: they would all be processed again",
                rule=25,
                remedy="Set the group forward again, or allow it by name: SqlEffect(allow_reexecution='why')",
            )
        return {
            record.event_id: TooOld(
                f"the event occurred before the business horizon of {self.scope!r}: it may have been processed and "
                "forgotten"
            )
            for record in old
        }
