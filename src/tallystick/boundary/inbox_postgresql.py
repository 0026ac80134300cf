"""The inbox's statements for PostgreSQL: arrays in, one round trip for each call.

Owns: their text. Must not know: what the events mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection

from tallystick.boundary.driver import array_literal, driver
from tallystick.boundary.horizons import Horizons
from tallystick.boundary.inbox_rows import Arrival, Entered, Known, Met, Near, Progress, is_same
from tallystick.boundary.owner_epoch import OwnerClaim, check_all
from tallystick.boundary.stretches import Stretch, condition
from tallystick.boundary.trail import Span

_VERIFY: Final = "SELECT owner_key, epoch FROM tallystick_owner_epoch WHERE owner_key = ANY(%s) ORDER BY 1 FOR SHARE"
# Which rows were new is told only if some were and some were not: of a batch that is all new, the count says it.
_ENTER: Final = """WITH entered AS (
    INSERT INTO tallystick_inbox (scope, event_id, body_hash, topic, partition, record_offset, created_at_ms)
    SELECT %s, given.*, %s::bigint FROM unnest(%s::text[], %s::text[], %s::text[], %s::integer[], %s::bigint[]) AS given
    ON CONFLICT (scope, event_id) DO NOTHING RETURNING event_id
) SELECT count(*), CASE WHEN count(*) NOT IN (0, %s::bigint) THEN array_agg(event_id) END FROM entered"""
_HORIZONS: Final = 'SELECT topic, "partition", horizon FROM tallystick_inbox_horizon WHERE scope = %s'
# All rows as one text: what most replays come to takes a fraction of comparing row by row.
_TOGETHER: Final = "SELECT count(*), string_agg(entry, ','), min(place)::text, max(place)::text, bool_or(gave) FROM"
_ENTRY: Final = """SELECT ctid AS place, outputs IS NOT NULL AS gave,
    concat_ws(':', body_hash, topic, partition, record_offset, event_id) AS entry"""
_ALL_BY_ID: Final = f"""{_TOGETHER} (
    {_ENTRY} FROM tallystick_inbox WHERE scope = %s AND event_id = ANY(%s::text[])
) AS stored"""
# By the page. The scope is compared under a collation that the index does not have: the planner would choose the
# index, for the scope that stands in it, and read all of it.
_NEAR: Final = """FROM tallystick_inbox
WHERE ctid >= %s::tid AND ctid < %s::tid AND scope COLLATE "C" = %s AND {stretches}"""
_ALL_NEAR: Final = f"{_TOGETHER} ({_ENTRY} {_NEAR} LIMIT %s) AS stored"
_GIVEN_NEAR: Final = f"""SELECT event_id, body_hash, topic, partition, record_offset, outputs
{_NEAR} AND outputs IS NOT NULL"""
# LATERAL with a LIMIT leaves the planner one way, by the key. A join it may turn round: with statistics of yesterday it
# reads the whole inbox for each batch.
_KNOWN: Final = """SELECT stored.event_id, stored.body_hash, stored.topic, stored.partition, stored.record_offset,
    stored.outputs
FROM unnest(%s::text[]) AS given (event_id)
CROSS JOIN LATERAL (
    SELECT * FROM tallystick_inbox AS row WHERE row.scope = %s AND row.event_id = given.event_id LIMIT 1
) AS stored"""
# They are all there: an upsert, because an UPDATE from an array is a join again.
_STORE: Final = """INSERT INTO tallystick_inbox (event_id, outputs, scope, body_hash, created_at_ms)
SELECT given.*, %s, '', 0 FROM unnest(%s::text[], %s::bytea[]) AS given
ON CONFLICT (scope, event_id) DO UPDATE SET outputs = excluded.outputs"""
_PROGRESS: Final = """INSERT INTO tallystick_inbox_position AS stored
    (scope, topic, partition, next_offset, replays, duplicates, conflicts, updated_at_ms)
SELECT %s, given.*, %s::bigint
FROM unnest(%s::text[], %s::integer[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[]) AS given
ON CONFLICT (scope, topic, partition) DO UPDATE SET
    next_offset = greatest(stored.next_offset, excluded.next_offset), replays = stored.replays + excluded.replays,
    duplicates = stored.duplicates + excluded.duplicates, conflicts = stored.conflicts + excluded.conflicts,
    updated_at_ms = excluded.updated_at_ms"""
_TAKE_BACK: Final = "DELETE FROM tallystick_inbox WHERE scope = %s AND event_id = ANY(%s::text[])"


_READS_BY_PAGE: Final = 14_00_00
"""The server's version from which on it does: before, such a statement would read the whole table."""
_ROWS_A_PAGE: Final = 6
_REACH_PAGES: Final = 8
"""A page holds about 45 rows, so that at most eight rows are read for each that is looked for. From about 15 on,
looking up ids is as fast."""


class PostgreSQLInbox:
    """``InboxRows`` over psycopg's pipeline mode. See there."""

    def enter(
        self,
        connection: Connection,
        scope: str,
        arrivals: Sequence[Arrival],
        *,
        now_ms: int,
        owners: Sequence[OwnerClaim],
    ) -> Entered:
        parameters = (scope, now_ms, *_arrays(arrivals), len(arrivals))
        with driver(connection) as raw, raw.pipeline():
            epochs = raw.execute(_VERIFY, ([owner.owner_key for owner in owners],)) if owners else None
            entered = raw.execute(_ENTER, parameters)
            # A statement of its own, begun after the rows went in: what was forgotten meanwhile has its horizon then.
            horizons = raw.execute(_HORIZONS, (scope,))
            check_all(owners, epochs.fetchall() if epochs is not None else ())
            count, some = entered.fetchone()
            found = horizons.fetchall()
        if some is None:
            some = () if count == 0 else [arrival[0] for arrival in arrivals]
        return Entered(frozenset(some), Horizons.of(found))

    def known(self, connection: Connection, scope: str, arrivals: Sequence[Arrival]) -> Met:
        ids = array_literal([arrival[0] for arrival in arrivals])
        with driver(connection) as raw:
            found, text, first, last, gave = raw.execute(_ALL_BY_ID, (scope, ids)).fetchone()
            if found < len(arrivals):
                return Met(found, {})
            span = Span(_page(first), _page(last))
            if not gave and is_same(text, arrivals):
                return Met(found, {}, span)
            rows = raw.execute(_KNOWN, (ids, scope)).fetchall()
        return Met.of(rows, arrivals, span)

    def near(self, connection: Connection, scope: str, stretches: Sequence[Stretch], *, start: int, most: int) -> Near:
        text, parameters = condition(stretches)
        text = text.replace("?", "%s")
        with driver(connection) as raw:
            if raw.info.server_version < _READS_BY_PAGE:
                return Near()
            end = start + most // _ROWS_A_PAGE + _REACH_PAGES
            found, entries, first, last, gave = raw.execute(
                _ALL_NEAR.format(stretches=text),
                (f"({start},0)", f"({end},0)", scope, *parameters, most),
                prepare=False,  # a plan that is kept may be one for a table of a page or two: all of it
            ).fetchone()
            if not found:
                return Near()
            span = Span(_page(first), _page(last))
            given = (
                raw.execute(
                    _GIVEN_NEAR.format(stretches=text),
                    (f"({span.first},0)", f"({span.last + 1},0)", scope, *parameters),
                    prepare=False,
                ).fetchall()
                if gave
                else []
            )
        return Near(frozenset(entries.split(",")), {row[0]: Known(*row) for row in given}, span)

    def finish(
        self,
        connection: Connection,
        scope: str,
        *,
        outputs: Sequence[tuple[str, bytes]],
        progress: Sequence[Progress],
        now_ms: int,
    ) -> None:
        with driver(connection) as raw, raw.pipeline():
            if outputs:
                ids, values = zip(*outputs, strict=True)
                raw.execute(_STORE, (scope, array_literal(ids), list(values)))
            raw.execute(
                _PROGRESS,
                (
                    scope,
                    now_ms,
                    [each.topic for each in progress],
                    [each.partition for each in progress],
                    [each.next_offset for each in progress],
                    [each.replays for each in progress],
                    [each.duplicates for each in progress],
                    [each.conflicts for each in progress],
                ),
            )

    def take_back(self, connection: Connection, scope: str, event_ids: Sequence[str]) -> None:
        with driver(connection) as raw:
            raw.execute(_TAKE_BACK, (scope, array_literal(event_ids)))


def _arrays(arrivals: Sequence[Arrival]) -> tuple[Any, ...]:
    """Ids, hashes, topics, partitions and offsets, each as one parameter."""
    ids, hashes, topics, partitions, offsets = zip(*arrivals, strict=True)
    return (
        array_literal(ids),
        array_literal(hashes),
        array_literal(topics),
        array_literal([str(partition) for partition in partitions]),
        array_literal([str(offset) for offset in offsets]),
    )


def _page(place: str) -> int:
    """Of a row's place as PostgreSQL writes it: ``(page,number)``."""
    return int(place[1 : place.index(",")])
