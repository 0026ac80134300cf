"""The inbox's statements for SQLite, where the open transaction is the only writer that there is.

Owns: their text. Must not know: what the events mean.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection

from tallystick.boundary.driver import driver
from tallystick.boundary.horizons import Horizons
from tallystick.boundary.inbox_rows import Arrival, Entered, Known, Met, Near, Progress, is_same
from tallystick.boundary.owner_epoch import OwnerClaim, check_all
from tallystick.boundary.stretches import Stretch, condition
from tallystick.boundary.trail import Span

_VERIFY: Final = "SELECT owner_key, epoch FROM tallystick_owner_epoch WHERE owner_key = ?"
# What is the same in all rows of a batch stands in the text: to bind it for each row costs a fifth of the insert.
_ENTER: Final = """INSERT INTO tallystick_inbox
    (event_id, body_hash, topic, partition, record_offset, scope, created_at_ms)
VALUES (?, ?, ?, ?, ?, {scope}, {now_ms})
ON CONFLICT (scope, event_id) DO NOTHING"""
_LAST_ROW: Final = "SELECT coalesce(max(rowid), 0) FROM tallystick_inbox"
_ENTERED: Final = "SELECT event_id FROM tallystick_inbox WHERE rowid > ?"
_COLUMNS: Final = "event_id, body_hash, topic, partition, record_offset, outputs"
# All rows as one text: what most replays come to takes less to compare than row by row.
_TOGETHER: Final = "SELECT count(*), group_concat(entry), min(place), max(place), total(gave) FROM"
# One call takes less than joining nine pieces.
_ENTRY: Final = """SELECT rowid AS place, outputs IS NOT NULL AS gave,
    printf('%s:%s:%d:%d:%s', body_hash, topic, partition, record_offset, event_id) AS entry"""
_BY_ID: Final = "FROM tallystick_inbox WHERE scope = ? AND event_id IN (SELECT value FROM json_each(?))"
_ALL_BY_ID: Final = f"{_TOGETHER} ({_ENTRY} {_BY_ID})"
_KNOWN: Final = f"SELECT {_COLUMNS} {_BY_ID}"
# By the number of the row. The index would be the planner's choice, for the scope that stands in it.
_NEAR: Final = "FROM tallystick_inbox NOT INDEXED WHERE rowid BETWEEN ? AND ? AND scope = ? AND {stretches}"
_ALL_NEAR: Final = f"{_TOGETHER} ({_ENTRY} {_NEAR} LIMIT ?)"
_GIVEN_NEAR: Final = f"SELECT {_COLUMNS} {_NEAR} AND outputs IS NOT NULL"
_HORIZONS: Final = "SELECT topic, partition, horizon FROM tallystick_inbox_horizon WHERE scope = ?"
_STORE: Final = "UPDATE tallystick_inbox SET outputs = ? WHERE scope = ? AND event_id = ?"
_PROGRESS: Final = """INSERT INTO tallystick_inbox_position AS stored
    (scope, topic, partition, next_offset, replays, duplicates, conflicts, updated_at_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (scope, topic, partition) DO UPDATE SET
    next_offset = max(stored.next_offset, excluded.next_offset), replays = stored.replays + excluded.replays,
    duplicates = stored.duplicates + excluded.duplicates, conflicts = stored.conflicts + excluded.conflicts,
    updated_at_ms = excluded.updated_at_ms"""
_TAKE_BACK: Final = "DELETE FROM tallystick_inbox WHERE scope = ? AND event_id IN (SELECT value FROM json_each(?))"


_REACH: Final = 8
"""Rows read for each that is looked for: from about 15 on, looking up ids is as fast."""


class SQLiteInbox:
    """``InboxRows`` under ``BEGIN IMMEDIATE``: nobody else writes until it ends, so that here looking is as good as
    inserting. See there."""

    def enter(
        self,
        connection: Connection,
        scope: str,
        arrivals: Sequence[Arrival],
        *,
        now_ms: int,
        owners: Sequence[OwnerClaim],
    ) -> Entered:
        ids = [arrival[0] for arrival in arrivals]
        statement = _ENTER.format(scope="'" + scope.replace("'", "''") + "'", now_ms=int(now_ms))
        with driver(connection) as raw:
            check_all(owners, [row for owner in owners for row in raw.execute(_VERIFY, (owner.owner_key,))])
            (last,) = raw.execute(_LAST_ROW).fetchone()
            count = raw.executemany(statement, arrivals).rowcount
            if count in (0, len(arrivals)):
                new = frozenset(ids if count else ())
            else:  # rows are numbered upwards, and nobody else's can be among them
                new = frozenset(event_id for (event_id,) in raw.execute(_ENTERED, (last,)))
            return Entered(new, Horizons.of(raw.execute(_HORIZONS, (scope,))))

    def known(self, connection: Connection, scope: str, arrivals: Sequence[Arrival]) -> Met:
        ids = json.dumps([arrival[0] for arrival in arrivals])
        with driver(connection) as raw:
            found, text, first, last, gave = raw.execute(_ALL_BY_ID, (scope, ids)).fetchone()
            if found < len(arrivals):
                return Met(found, {})
            if not gave and is_same(text, arrivals):
                return Met(found, {}, Span(first, last))
            rows = raw.execute(_KNOWN, (scope, ids)).fetchall()
        return Met.of(rows, arrivals, Span(first, last))

    def near(self, connection: Connection, scope: str, stretches: Sequence[Stretch], *, start: int, most: int) -> Near:
        text, parameters = condition(stretches)
        with driver(connection) as raw:
            found, entries, first, last, gave = raw.execute(
                _ALL_NEAR.format(stretches=text), (start, start + _REACH * most, scope, *parameters, most)
            ).fetchone()
            if not found:
                return Near()
            given = (
                raw.execute(_GIVEN_NEAR.format(stretches=text), (first, last, scope, *parameters)).fetchall()
                if gave
                else []
            )
        return Near(frozenset(entries.split(",")), {row[0]: Known(*row) for row in given}, Span(first, last))

    def finish(
        self,
        connection: Connection,
        scope: str,
        *,
        outputs: Sequence[tuple[str, bytes]],
        progress: Sequence[Progress],
        now_ms: int,
    ) -> None:
        with driver(connection) as raw:
            if outputs:
                raw.executemany(_STORE, [(value, scope, event_id) for event_id, value in outputs])
            raw.executemany(
                _PROGRESS,
                [
                    (
                        scope,
                        each.topic,
                        each.partition,
                        each.next_offset,
                        each.replays,
                        each.duplicates,
                        each.conflicts,
                        now_ms,
                    )
                    for each in progress
                ],
            )

    def take_back(self, connection: Connection, scope: str, event_ids: Sequence[str]) -> None:
        with driver(connection) as raw:
            raw.execute(_TAKE_BACK, (scope, json.dumps(list(event_ids))))
