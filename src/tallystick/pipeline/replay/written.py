"""What stands in the output topics, by event id, in a file that goes with the process.

Owns: ``Written``. Must not know: who reads the topics, what is compared.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from types import TracebackType
from typing import Final, Self

from tallystick.ids import EventId
from tallystick.pipeline.records import Record
from tallystick.pipeline.replay.corrections import Marks, digest
from tallystick.pipeline.replay.findings import Standing

_TABLE: Final = """
CREATE TABLE written (
    id BLOB PRIMARY KEY, digest BLOB NOT NULL, revision INTEGER NOT NULL, replay TEXT,
    topic TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL
) WITHOUT ROWID
"""
_PUT: Final = """
INSERT INTO written VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET digest = excluded.digest, revision = excluded.revision, replay = excluded.replay,
    topic = excluded.topic, partition = excluded.partition, offset = excluded.offset
WHERE excluded.revision > revision
"""
_GET: Final = "SELECT digest, revision, replay, topic, partition, offset FROM written WHERE id = ?"


class Written:
    """An index of some 100 bytes for each record, in a temporary file of SQLite's; gone when it is closed."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect("", isolation_level=None)  # "": on disk, without a name
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute(_TABLE)
        self._connection.execute("CREATE TABLE told (id BLOB PRIMARY KEY) WITHOUT ROWID")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def add(self, records: Iterable[Record]) -> None:
        """Records in any order: the highest revision of an original is what stands, and of one revision the first."""
        rows = []
        for record in records:
            marks = Marks.of(record.event_id, record.headers)
            body = digest(record.topic, record.key, record.value, record.headers)
            place = (record.topic, record.partition, record.offset)
            rows.append((_raw(marks.original), body, marks.revision, marks.replay, *place))
        self._connection.execute("BEGIN")
        self._connection.executemany(_PUT, rows)
        self._connection.execute("COMMIT")

    def standing(self, event_id: EventId) -> Standing | None:
        row = self._connection.execute(_GET, (_raw(event_id),)).fetchone()
        return None if row is None else Standing(*row)

    def is_first(self, event_id: EventId) -> bool:
        """Whether it was not asked for before: an input that came twice makes its outputs twice."""
        return self._connection.execute("INSERT OR IGNORE INTO told VALUES (?)", (_raw(event_id),)).rowcount == 1


def _raw(event_id: EventId) -> bytes:
    return bytes.fromhex(event_id.replace("-", ""))
