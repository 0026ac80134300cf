"""Ready-made batch functions: rows that a table takes once, however often they come.

Owns: three ways to write a row, by what makes a repetition harmless. Must not know: the inbox. With it
(``SqlEffect(engine, PerBatch(sink), name=...)``) each event is written once; by themselves they stay right when a whole
inbox is lost, and under a zombie, because the table's own key decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Table, UniqueConstraint

from tallystick.boundary.statements import insert
from tallystick.errors import ConfigurationError
from tallystick.pipeline.records import Record

Row = Mapping[str, Any]
ToRow = Callable[[Record], Row | None]
"""The row of a record, by column; None for a record that writes none."""


@dataclass(frozen=True, slots=True)
class InsertIfAbsent:
    """The first row of a key stays, others of that key are passed over. Idempotent by key.

    ``key`` are the columns of a primary key or a unique index of ``table``.
    """

    table: Table
    key: tuple[str, ...]
    to_row: ToRow

    def __post_init__(self) -> None:
        _check_unique(self.table, self.key)

    def __call__(self, connection: Connection, records: Sequence[Record]) -> None:
        rows = _rows(records, self.to_row)
        if rows:
            statement = insert(connection, self.table).on_conflict_do_nothing(index_elements=list(self.key))
            connection.execute(statement, rows)


@dataclass(frozen=True, slots=True)
class Append:
    """A row for each event, under the event's id. Idempotent by unique id.

    ``id_column`` takes the event id; it has a primary key or a unique index of its own, and 36 characters.
    """

    table: Table
    to_row: ToRow
    id_column: str = "event_id"

    def __post_init__(self) -> None:
        _check_unique(self.table, (self.id_column,))

    def __call__(self, connection: Connection, records: Sequence[Record]) -> None:
        rows = [
            {**row, self.id_column: record.event_id} for record in records if (row := self.to_row(record)) is not None
        ]
        if rows:
            statement = insert(connection, self.table).on_conflict_do_nothing(index_elements=[self.id_column])
            connection.execute(statement, rows)


@dataclass(frozen=True, slots=True)
class UpsertNewest:
    """Of each key the row with the highest version stays, in whichever order they come. Idempotent by version.

    ``version`` is a column that is never NULL: a number that the source counts up, or the time of a change. Of two rows
    with the same version the first stays: equal versions with other values are the source's mistake.
    """

    table: Table
    key: tuple[str, ...]
    version: str
    to_row: ToRow
    _columns: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check_unique(self.table, self.key)
        if self.version in self.key or self.version not in self.table.c:
            raise ConfigurationError(f"{self.version!r} is no column of {self.table.name!r} beside its key")
        object.__setattr__(
            self, "_columns", tuple(column.name for column in self.table.c if column.name not in self.key)
        )

    def __call__(self, connection: Connection, records: Sequence[Record]) -> None:
        newest: dict[tuple[Any, ...], Row] = {}
        for row in _rows(records, self.to_row):
            key = tuple(row[name] for name in self.key)
            if key not in newest or newest[key][self.version] < row[self.version]:
                newest[key] = row
        if not newest:
            return
        statement = insert(connection, self.table)
        written = [name for name in self._columns if name in next(iter(newest.values()))]
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=list(self.key),
                set_={name: statement.excluded[name] for name in written},
                where=self.table.c[self.version] < statement.excluded[self.version],
            ),
            [newest[key] for key in sorted(newest, key=repr)],  # in one order, so that two workers do not deadlock
        )


def _rows(records: Sequence[Record], to_row: ToRow) -> list[Row]:
    return [row for record in records if (row := to_row(record)) is not None]


def _check_unique(table: Table, columns: tuple[str, ...]) -> None:
    wanted = set(columns)
    keys = [set(table.primary_key.columns.keys())]
    keys += [set(index.columns.keys()) for index in table.indexes if index.unique]
    keys += [set(one.columns.keys()) for one in table.constraints if isinstance(one, UniqueConstraint)]
    if wanted not in keys and not (len(columns) == 1 and columns[0] in table.c and table.c[columns[0]].unique):
        raise ConfigurationError(
            f"table {table.name!r} has no primary key or unique index on {', '.join(columns)}",
            remedy="Only the database can tell a repetition: give the table that key",
        )
