"""The SQL side of the counting workload: a row for each tick and a balance for each account.

Owns: two tables without any unique key on the tick, so that a repetition shows, the handler that writes them, and
reading them back for the oracle. Must not know: the inbox; that it keeps repetitions out is what is verified.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from sqlalchemy import BigInteger, Column, Connection, Integer, MetaData, Table, Text, func, select, update

from tallystick.boundary import SqlEffect, create_tables, open_database, reading, schema
from tallystick.ids import EventId, derived_id
from tallystick.pipeline import Emit, Output, Record, Topic
from tallystick.verify.events import TickValue
from tallystick.verify.oracle import Expected, Position, Seen, StateCell
from tallystick.verify.ticks import Tick

ROWS: Final = "sql:verify_row"
BALANCES: Final = "sql:verify_balance"

_metadata = MetaData()
_row = Table(
    "verify_row",
    _metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("workload", Text, nullable=False, index=True),
    Column("event", Text, nullable=False),
    Column("account", Text, nullable=False),
)
_balance = Table(
    "verify_balance",
    _metadata,
    Column("workload", Text, primary_key=True),
    Column("account", Text, primary_key=True),
    Column("amount_minor", BigInteger, nullable=False),
)


def effect_factory(
    database_url: str, source: Topic[TickValue], step: str, echo: Callable[[TickValue], Iterable[Emit]]
) -> Callable[[], SqlEffect]:
    """What a worker calls in its own process. The workload's name is the part of ``source`` before ``.ticks``."""
    workload = source.name.removesuffix(".ticks")

    def handle(connection: Connection, record: Record) -> Iterable[Output]:
        tick = source.decode(record.value)
        connection.execute(_row.insert().values(workload=workload, event=tick.event, account=tick.account))
        connection.execute(
            update(_balance)
            .where(_balance.c.workload == workload, _balance.c.account == tick.account)
            .values(amount_minor=_balance.c.amount_minor + tick.amount_minor)
        )
        return [
            Output(emitted.topic, emitted.key, emitted.value, derived_id(record.event_id, step, ordinal))
            for ordinal, emitted in enumerate(echo(tick))
        ]

    def factory() -> SqlEffect:
        return SqlEffect(open_database(database_url), handle, name=workload)

    return factory


class SqlSide:
    """The database of one workload, as the harness sees it."""

    def __init__(self, database_url: str, workload: str) -> None:
        self._engine = open_database(database_url)
        self._workload = workload

    def prepare(self, accounts: Iterable[str]) -> None:
        """Make the tables, and a zero balance for each account."""
        create_tables(self._engine)
        _metadata.create_all(self._engine)
        with self._engine.begin() as connection:
            connection.execute(
                _balance.insert(),
                [{"workload": self._workload, "account": account, "amount_minor": 0} for account in accounts],
            )

    @staticmethod
    def expected(ticks: Sequence[Tick], positions: Mapping[EventId, Position]) -> list[Expected]:
        """One row for each tick."""
        return [
            Expected(ROWS, tick.event, tick.key, group=tick.event, sequence=tick.number, source=positions[tick.event])
            for tick in ticks
        ]

    def states(self, ticks: Iterable[Tick]) -> tuple[StateCell, ...]:
        """Each account's balance, beside the sum of its ticks."""
        folded: Counter[str] = Counter()
        for tick in ticks:
            folded[tick.account] += tick.amount_minor
        query = select(_balance.c.account, _balance.c.amount_minor).where(_balance.c.workload == self._workload)
        with reading(self._engine) as connection:
            found = {account: int(amount) for account, amount in connection.execute(query)}
        return tuple(
            StateCell(BALANCES, account, str(folded[account]), str(found[account]) if account in found else None)
            for account in sorted({*folded, *found})
        )

    def rows(self, ticks: Iterable[Tick]) -> list[Seen]:
        """What the database shows now, whatever was sent. Rows of one account lie in the order of their insertion."""
        del ticks
        with reading(self._engine) as connection:
            rows = connection.execute(
                select(_row.c.id, _row.c.event, _row.c.account)
                .where(_row.c.workload == self._workload)
                .order_by(_row.c.id)
            ).all()
        return [Seen(Position(ROWS, 0, row_id), account.encode(), event, "") for row_id, event, account in rows]

    def replays(self) -> int:
        """How often an event was met again at its own position: replays that left no second row."""
        table = schema.inbox_position.c
        total = select(func.coalesce(func.sum(table.replays), 0)).where(table.scope == self._workload)
        with reading(self._engine) as connection:
            return int(connection.execute(total).scalar_one())

    def counted_events(self) -> frozenset[EventId]:
        """The events whose effect is committed in SQL."""
        inbox = schema.inbox.c
        query = select(inbox.event_id).where(inbox.scope == self._workload)
        with reading(self._engine) as connection:
            return frozenset(EventId(event) for event in connection.execute(query).scalars())

    def reconnect(self) -> None:
        """Forget connections from before: the database may have been killed since."""
        self._engine.dispose()

    def forget(self) -> None:
        """Remove what this workload wrote: its rows and balances, and its part of the inbox."""
        with self._engine.begin() as connection:
            connection.execute(_row.delete().where(_row.c.workload == self._workload))
            connection.execute(_balance.delete().where(_balance.c.workload == self._workload))
            for table in (schema.inbox, schema.inbox_position):
                connection.execute(table.delete().where(table.c.scope == self._workload))

    @staticmethod
    def open_attempts() -> int:
        """Nothing of this workload is done later."""
        return 0

    def close(self) -> None:
        self._engine.dispose()
