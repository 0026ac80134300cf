"""SQL rows as an effect that happens once: a pipeline processor.

Owns: the SQL transaction of a batch: inbox rows, the handler's rows, the stored outputs, one commit (rule 25). Must not
know: Kafka; the cycle commits there afterwards, and a replay re-emits what is stored here.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from tallystick.boundary import schema
from tallystick.boundary.database import is_away
from tallystick.boundary.handlers import BatchHandler, Handler, Outputs, PerBatch, run_handler
from tallystick.boundary.horizons import OccurredAt, Recall, TooOld
from tallystick.boundary.inbox_rows import Arrival, InboxRows, Known
from tallystick.boundary.met_again import Meeting, Positions, meeting
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
_PAUSE_S: Final = 0.1

_log = structlog.get_logger(__name__)


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
        handler: Handler | BatchHandler | PerBatch,
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
        self._rows = _rows(engine.dialect.name)
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
    ) -> tuple[Sequence[tuple[Output, ...] | Poisoned], EffectCounts]:
        arrivals, digests = _arrivals(records)
        now_ms = self._clock.now_ms()
        entered = self._rows.enter(connection, self._name, arrivals, now_ms=now_ms, owner=self._owner)
        reach(AFTER_INSERT)
        new = entered.new
        all_new = len(new) == len(records)  # each is new, and none is there twice
        fresh = records if all_new else _first_of_each(records, new)
        refused = self._recall.too_old(entered.horizons, fresh)
        if refused:
            self._rows.take_back(connection, self._name, sorted(refused))
            fresh = [record for record in fresh if record.event_id not in refused]
        outputs = run_handler(self._handler, connection, fresh)
        stored = _encoded(fresh, outputs)
        positions = Positions.of(records)
        counts = EffectCounts(processed=len(fresh), too_old=len(refused))
        results: Sequence[tuple[Output, ...] | Poisoned]
        if all_new and not refused:
            results = outputs or [()] * len(records)
        else:
            old = [arrival for arrival in arrivals if arrival[0] not in new]
            seen = self._seen(connection, old) if old else {}
            given: dict[str, tuple[Output, ...]] = {
                record.event_id: outputs[at] if outputs else () for at, record in enumerate(fresh)
            }
            results = self._answers(connection, records, digests, given=given, seen=seen, refused=refused, at=positions)
            counts.replayed = positions.count(Meeting.REPLAY)
            counts.duplicates = positions.count(Meeting.DUPLICATE)
            counts.conflicts = positions.count(Meeting.CONFLICT)
        self._rows.finish(connection, self._name, outputs=stored, progress=positions.progress(), now_ms=now_ms)
        return results, counts

    def _seen(self, connection: Connection, old: Sequence[Arrival]) -> Mapping[str, Known | None]:
        seen = self._rows.known(connection, self._name, old)
        if len(seen) < len(old):
            raise RetriableError(f"effect {self._name!r}: rows were forgotten while their events came in again")
        return seen

    def _answers(
        self,
        connection: Connection,
        records: Sequence[Record],
        digests: Sequence[str],
        *,
        given: Mapping[str, tuple[Output, ...]],
        seen: Mapping[str, Known | None],
        refused: Mapping[str, TooOld],
        at: Positions,
    ) -> list[tuple[Output, ...] | Poisoned]:
        """In input order: what the handler gave just now, what it gave the first time, or the verdict."""
        answers: list[tuple[Output, ...] | Poisoned] = []
        here: dict[str, Known] = {}
        for record, digest in zip(records, digests, strict=True):
            event_id = record.event_id
            if event_id in refused:
                answers.append(Poisoned(record, refused[event_id], tries=1))
                continue
            if event_id in given and event_id not in here:
                here[event_id] = Known(event_id, digest, record.topic, record.partition, record.offset, None)
                answers.append(given[event_id])
                continue
            known = here[event_id] if event_id in given else seen[event_id]
            met = meeting(record, digest, known)
            at.add(record, met)
            if met is Meeting.CONFLICT and known is not None:
                self._keep_conflict(connection, record, digest, known)
            # Sent twice, it gives nothing: the first position's own transaction emits the outputs, or has emitted
            # them; its offset does not pass without them.
            answers.append(self._stored(known, given) if met is Meeting.REPLAY else ())
        return answers

    def _stored(self, known: Known | None, given: Mapping[str, tuple[Output, ...]]) -> tuple[Output, ...]:
        if known is None:
            return ()
        if known.event_id in given:
            return given[known.event_id]
        return decode_outputs(known.outputs, place=f"tallystick_inbox {self._name!r} {known.event_id}")

    def _keep_conflict(self, connection: Connection, record: Record, digest: str, known: Known) -> None:
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
            first_body_hash=known.body_hash,
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


def _rows(dialect: str) -> InboxRows:
    if dialect == "postgresql":
        from tallystick.boundary.inbox_postgresql import PostgreSQLInbox

        return PostgreSQLInbox()
    from tallystick.boundary.inbox_sqlite import SQLiteInbox

    return SQLiteInbox()


def _arrivals(records: Sequence[Record]) -> tuple[list[Arrival], list[str]]:
    """Each event once, sorted by id, and the body hashes in the order of the records."""
    digests = [TOMBSTONE_HASH if record.value is None else body_hash(record.value) for record in records]
    arrivals: list[Arrival] = sorted(
        (record.event_id, digest, record.topic, record.partition, record.offset)
        for record, digest in zip(records, digests, strict=True)
    )
    first = {record.event_id: at for at, record in reversed(list(enumerate(records)))}
    if len(first) < len(records):  # of an event that is there twice, the first stands for it
        chosen = [(records[at], digests[at]) for at in first.values()]
        arrivals = sorted((one.event_id, digest, one.topic, one.partition, one.offset) for one, digest in chosen)
    return arrivals, digests


def _first_of_each(records: Sequence[Record], new: Collection[str]) -> list[Record]:
    chosen: dict[str, Record] = {}
    for record in records:
        if record.event_id in new:
            chosen.setdefault(record.event_id, record)
    return list(chosen.values())


def _encoded(fresh: Sequence[Record], outputs: Outputs) -> list[tuple[str, bytes]]:
    """By event id, sorted for the reason that the rows are."""
    encoded = (
        (record.event_id, encode_outputs(given)) for record, given in zip(fresh, outputs, strict=bool(outputs)) if given
    )
    return sorted((event_id, raw) for event_id, raw in encoded if raw is not None)


def _record_time(record: Record) -> int:
    return record.timestamp_ms
