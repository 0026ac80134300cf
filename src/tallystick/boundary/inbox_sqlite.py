"""The inbox's statements for SQLite, where the open transaction is the only writer that there is.

Owns: their text. Must not know: what the events mean.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import Connection

from tallystick.boundary.driver import driver
from tallystick.boundary.horizons import Horizons
from tallystick.boundary.inbox_rows import Arrival, Entered, Known, Progress
from tallystick.boundary.owner_epoch import OwnerClaim

_VERIFY: Final = "SELECT epoch FROM tallystick_owner_epoch WHERE owner_key = ?"
_ENTER: Final = """INSERT INTO tallystick_inbox
    (event_id, body_hash, topic, partition, record_offset, scope, created_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (scope, event_id) DO NOTHING"""
_PRESENT: Final = """SELECT event_id FROM tallystick_inbox
WHERE scope = ? AND event_id IN (SELECT value FROM json_each(?))"""
_KNOWN: Final = """SELECT event_id, body_hash, topic, partition, record_offset, outputs FROM tallystick_inbox
WHERE scope = ? AND event_id IN (SELECT value FROM json_each(?))"""
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


class SQLiteInbox:
    """``InboxRows`` under ``BEGIN IMMEDIATE``: nobody else writes until it ends, so that here looking is as good as
    inserting. See there."""

    def enter(
        self, connection: Connection, scope: str, arrivals: Sequence[Arrival], *, now_ms: int, owner: OwnerClaim | None
    ) -> Entered:
        ids = [arrival[0] for arrival in arrivals]
        rows = [(*arrival, scope, now_ms) for arrival in arrivals]
        with driver(connection) as raw:
            if owner is not None:
                row = raw.execute(_VERIFY, (owner.owner_key,)).fetchone()
                owner.check(None if row is None else row[0])
            raw.execute("SAVEPOINT tallystick_enter")
            count = raw.executemany(_ENTER, rows).rowcount
            if count in (0, len(rows)):
                new = frozenset(ids if count else ())
            else:  # some of them: which, has to be asked before they go in
                raw.execute("ROLLBACK TO tallystick_enter")
                present = {event_id for (event_id,) in raw.execute(_PRESENT, (scope, json.dumps(ids)))}
                raw.executemany(_ENTER, [row for row in rows if row[0] not in present])
                new = frozenset(ids) - present
            raw.execute("RELEASE tallystick_enter")
            return Entered(new, Horizons.of(raw.execute(_HORIZONS, (scope,))))

    def known(self, connection: Connection, scope: str, arrivals: Sequence[Arrival]) -> Mapping[str, Known | None]:
        here = {arrival[0]: arrival[1:] for arrival in arrivals}
        found: dict[str, Known | None] = {}
        with driver(connection) as raw:
            for row in raw.execute(_KNOWN, (scope, json.dumps([arrival[0] for arrival in arrivals]))):
                same = row[5] is None and row[1:5] == here[row[0]]
                found[row[0]] = None if same else Known(*row)
        return found

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
