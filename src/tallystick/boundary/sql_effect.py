"""SQL rows as an effect that happens once: a pipeline processor.

Owns: the SQL transaction of a batch: inbox rows, the handler's rows, the stored outputs, one commit (rule 25). Must not
know: Kafka; the cycle commits there afterwards, and a replay re-emits what is stored here.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, runtime_checkable

import structlog
from sqlalchemy import Connection, Engine, bindparam, delete, select, update
from sqlalchemy.exc import DBAPIError

from tallystick.boundary import schema
from tallystick.boundary.database import is_away
from tallystick.boundary.horizons import OccurredAt, Recall, TooOld
from tallystick.boundary.owner_epoch import OwnerClaim
from tallystick.boundary.statements import insert
from tallystick.boundary.stored_outputs import decode_outputs, encode_outputs
from tallystick.clock import Clock, SystemClock
from tallystick.errors import AmbiguousOutcome, ConfigurationError, RetriableError
from tallystick.ids import body_hash
from tallystick.killpoints import declare, reach
from tallystick.pipeline.ports import Poisoned
from tallystick.pipeline.records import Output, Record

AFTER_INSERT: Final = declare("inbox.after-insert", "the batch's inbox rows are inserted, nothing else is")
BEFORE_SQL_COMMIT: Final = declare("inbox.before-sql-commit", "all rows are written, the SQL transaction is open")
AFTER_SQL_COMMIT: Final = declare("inbox.after-sql-commit", "SQL is committed, Kafka is not")

TOMBSTONE_HASH: Final = "tombstone"
"""Stands for the hash of a record without a value, which is not the same as an empty one."""

MAX_TRIES: Final = 5
_ROWS_PER_INSERT: Final = 2_000  # times 7 columns: below SQLite's 32,766 and PostgreSQL's 65,535 parameters
_PAUSE_S: Final = 0.1

_log = structlog.get_logger(__name__)


class Handler(Protocol):
    """What one record does to the database. It may only write through ``connection``, and never commits."""

    def __call__(self, connection: Connection, record: Record) -> Iterable[Output] | None:
        """Write the record's rows; return or yield its outputs."""
        ...


@runtime_checkable
class BatchHandler(Protocol):
    """A handler that also wants the batch's edges, to read ahead or to write in bulk. Outputs stay per record."""

    def __call__(self, connection: Connection, record: Record) -> Iterable[Output] | None: ...

    def begin_batch(self, connection: Connection, records: Sequence[Record]) -> None:
        """Called with the new records of a batch, before the first of them."""
        ...

    def end_batch(self, connection: Connection, records: Sequence[Record]) -> None:
        """Called after the last of them, before the commit."""
        ...


@dataclass(slots=True)
class EffectCounts:
    """What this processor met, committed batches only."""

    processed: int = 0
    replayed: int = 0
    """Met again at the same position: work of an aborted or killed cycle."""
    duplicates: int = 0
    """Met again at another position: sent twice."""
    conflicts: int = 0
    """Known id, other body: kept in ``tallystick_inbox_conflict``, not processed (rule 27)."""
    too_old: int = 0
    """Older than the inbox remembers: a verdict instead of outputs."""

    def add(self, other: EffectCounts) -> None:
        self.processed += other.processed
        self.replayed += other.replayed
        self.duplicates += other.duplicates
        self.conflicts += other.conflicts
        self.too_old += other.too_old


class SqlEffect:
    """Calls ``handler`` once for each event id, however often the event is read.

    One SQL transaction for each batch. If the connection is lost, also at commit, the whole batch is repeated on a new
    one: the repeated INSERT waits for whatever became of the first and then decides (rule 28).
    """

    def __init__(
        self,
        engine: Engine,
        handler: Handler | BatchHandler,
        *,
        name: str,
        owner: OwnerClaim | None = None,
        clock: Clock | None = None,
        occurred_at_ms: OccurredAt | None = None,
        allow_reexecution: str | None = None,
    ) -> None:
        """``name`` is the inbox scope: frozen, since renaming it processes everything again.

        ``owner``: every transaction verifies this claim and raises ``FencedError`` once there is a newer owner.

        ``occurred_at_ms`` tells the time of an event, by default that of its record. An event older than the inbox
        remembers is poisoned, and one that is read again below what it remembers stops the worker, unless
        ``allow_reexecution`` names the decision to process such events again.
        """
        if not 0 < len(name) <= 200:
            raise ConfigurationError(f"an effect's name has 1 to 200 characters: {name!r}")
        self._engine = engine
        self._handler = handler
        self._name = name
        self._owner = owner
        self._clock = clock or SystemClock()
        self._recall = Recall(name, occurred_at_ms or _record_time, allow_reexecution)
        self.counts = EffectCounts()

    def process(self, records: Sequence[Record]) -> Sequence[Sequence[Output] | Poisoned]:
        """Outputs for each record, new or stored, in input order; SQL is committed when it returns.

        Raises ``RetriableError`` or ``AmbiguousOutcome`` if the database is away: call again with the same records.
        """
        if not records:
            return []
        for tries in range(1, MAX_TRIES + 1):
            try:
                with self._engine.begin() as connection:
                    outputs, counts = self._process(connection, records)
                    reach(BEFORE_SQL_COMMIT)
            except DBAPIError as error:
                if not is_away(error):
                    raise
                if self._engine.dialect.name == "sqlite":  # it has waited already, and no commit is ambiguous
                    raise RetriableError(f"effect {self._name!r}: {error.orig}") from error
                if tries == MAX_TRIES:
                    raise AmbiguousOutcome(f"effect {self._name!r}, {tries} tries: {error.orig}") from error
                _log.warning("sql-effect.repeated", effect=self._name, records=len(records), reason=str(error.orig))
                time.sleep(_PAUSE_S * tries)
                continue
            reach(AFTER_SQL_COMMIT)
            self.counts.add(counts)
            return outputs
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def _process(
        self, connection: Connection, records: Sequence[Record]
    ) -> tuple[list[tuple[Output, ...] | Poisoned], EffectCounts]:
        if self._owner is not None:
            self._owner.verify(connection)
        counts = EffectCounts()
        digests = [_digest(record) for record in records]
        first: dict[str, int] = {}
        for index, record in enumerate(records):
            first.setdefault(record.event_id, index)
        new = self._insert(connection, [(records[index], digests[index]) for index in first.values()])
        reach(AFTER_INSERT)
        known = self._known(connection, [event_id for event_id in first if event_id not in new])
        refused = self._recall.too_old(connection, [records[i] for i in first.values() if records[i].event_id in new])
        if refused:
            self._take_back(connection, refused)
            new -= refused.keys()
            counts.too_old = len(refused)

        fresh = [records[index] for index in first.values() if records[index].event_id in new]
        results = self._handle(connection, fresh)
        self._store(connection, results)
        counts.processed = len(fresh)

        outputs: list[tuple[Output, ...] | Poisoned] = []
        met_again = _MetAgain()
        for index, record in enumerate(records):
            event_id = record.event_id
            if event_id in refused:
                outputs.append(Poisoned(record, refused[event_id], tries=1))
                continue
            if event_id in new:
                if first[event_id] == index:
                    outputs.append(results[event_id])
                    continue
                origin = records[first[event_id]]
                seen = _Seen(digests[first[event_id]], origin.topic, origin.partition, origin.offset, results[event_id])
            else:
                seen = known[event_id]
            if digests[index] != seen.body_hash:
                counts.conflicts += 1
                self._keep_conflict(connection, record, digests[index], seen)
                outputs.append(())
            else:
                outputs.append(met_again.add(record, seen))
        self._count(connection, met_again)
        counts.replayed, counts.duplicates = sum(met_again.replays.values()), sum(met_again.duplicates.values())
        return outputs, counts

    def _insert(self, connection: Connection, batch: Sequence[tuple[Record, str]]) -> frozenset[str]:
        """The ids that were new. Sorted by id, so that two workers with the same ids do not deadlock."""
        now_ms = self._clock.now_ms()
        rows = [
            {
                "scope": self._name,
                "event_id": record.event_id,
                "body_hash": digest,
                "topic": record.topic,
                "partition": record.partition,
                "record_offset": record.offset,
                "created_at_ms": now_ms,
            }
            for record, digest in sorted(batch, key=lambda pair: pair[0].event_id)
        ]
        new: set[str] = set()
        for start in range(0, len(rows), _ROWS_PER_INSERT):
            statement = insert(connection, schema.inbox).values(rows[start : start + _ROWS_PER_INSERT])
            statement = statement.on_conflict_do_nothing(index_elements=["scope", "event_id"])
            new.update(connection.execute(statement.returning(schema.inbox.c.event_id)).scalars())
        return frozenset(new)

    def _take_back(self, connection: Connection, refused: dict[str, TooOld]) -> None:
        """What is not processed leaves no row that says it was."""
        table = schema.inbox.c
        connection.execute(
            delete(schema.inbox).where(table.scope == self._name, table.event_id == bindparam("b_event_id")),
            [{"b_event_id": event_id} for event_id in sorted(refused)],
        )

    def _known(self, connection: Connection, event_ids: Sequence[str]) -> dict[str, _Seen]:
        table = schema.inbox.c
        known: dict[str, _Seen] = {}
        for start in range(0, len(event_ids), _ROWS_PER_INSERT):
            query = select(
                table.event_id, table.body_hash, table.topic, table.partition, table.record_offset, table.outputs
            ).where(table.scope == self._name, table.event_id.in_(event_ids[start : start + _ROWS_PER_INSERT]))
            for event_id, digest, topic, partition, offset, raw in connection.execute(query):
                place = f"tallystick_inbox {self._name!r} {event_id}"
                known[event_id] = _Seen(digest, topic, partition, offset, decode_outputs(raw, place=place))
        return known

    def _handle(self, connection: Connection, fresh: Sequence[Record]) -> dict[str, tuple[Output, ...]]:
        if not fresh:
            return {}
        handler = self._handler
        batch = handler if isinstance(handler, BatchHandler) else None
        if batch is not None:
            batch.begin_batch(connection, fresh)
        results: dict[str, tuple[Output, ...]] = {}
        for record in fresh:
            results[record.event_id] = tuple(handler(connection, record) or ())
        if batch is not None:
            batch.end_batch(connection, fresh)
        return results

    def _store(self, connection: Connection, results: dict[str, tuple[Output, ...]]) -> None:
        rows: list[dict[str, Any]] = [
            {"b_event_id": event_id, "b_outputs": encode_outputs(outputs)}
            for event_id, outputs in sorted(results.items())
            if outputs
        ]
        if rows:
            connection.execute(
                update(schema.inbox)
                .where(schema.inbox.c.scope == self._name, schema.inbox.c.event_id == bindparam("b_event_id"))
                .values(outputs=bindparam("b_outputs")),
                rows,
            )

    def _count(self, connection: Connection, met_again: _MetAgain) -> None:
        """Sorted by id for the reason that ``_insert`` has."""
        rows = [
            {
                "b_event_id": event_id,
                "b_replays": met_again.replays[event_id],
                "b_duplicates": met_again.duplicates[event_id],
            }
            for event_id in sorted(met_again.replays.keys() | met_again.duplicates.keys())
        ]
        if rows:
            table = schema.inbox.c
            connection.execute(
                update(schema.inbox)
                .where(table.scope == self._name, table.event_id == bindparam("b_event_id"))
                .values(
                    replays=table.replays + bindparam("b_replays"),
                    duplicates=table.duplicates + bindparam("b_duplicates"),
                ),
                rows,
            )

    def _keep_conflict(self, connection: Connection, record: Record, digest: str, seen: _Seen) -> None:
        _log.error(
            "sql-effect.body-conflict",
            effect=self._name,
            event_id=record.event_id,
            place=f"{record.topic}-{record.partition}@{record.offset}",
        )
        table = schema.inbox_conflict
        statement = insert(connection, table).values(
            scope=self._name,
            event_id=record.event_id,
            body_hash=digest,
            first_body_hash=seen.body_hash,
            body=record.value,
            topic=record.topic,
            partition=record.partition,
            record_offset=record.offset,
            times_seen=1,
            first_seen_at_ms=self._clock.now_ms(),
        )
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["scope", "event_id", "body_hash"], set_={"times_seen": table.c.times_seen + 1}
            )
        )


@dataclass(frozen=True, slots=True)
class _Seen:
    """A known event: its body, where it was first read, what it gave."""

    body_hash: str
    topic: str | None
    partition: int | None
    offset: int | None
    outputs: tuple[Output, ...]


@dataclass(slots=True)
class _MetAgain:
    """How often known ids with the same body were met in this batch."""

    replays: Counter[str] = field(default_factory=Counter)
    duplicates: Counter[str] = field(default_factory=Counter)

    def add(self, record: Record, seen: _Seen) -> tuple[Output, ...]:
        """Count it. A replay gives what was stored; anything else gives nothing.

        Met at another position, the event was sent twice. The first position's own transaction emits the outputs, or
        has emitted them: its offset does not pass without them.
        """
        if (record.topic, record.partition, record.offset) == (seen.topic, seen.partition, seen.offset):
            self.replays[record.event_id] += 1
            return seen.outputs
        self.duplicates[record.event_id] += 1
        return ()


def _record_time(record: Record) -> int:
    return record.timestamp_ms


def _digest(record: Record) -> str:
    return TOMBSTONE_HASH if record.value is None else body_hash(record.value)
