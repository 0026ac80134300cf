"""SQL rows as an effect that happens once: a pipeline processor.

Owns: the SQL transaction around a batch, one commit (rule 25), and repeating it while the database is away. Must not
know: Kafka; the cycle commits there afterwards, and a replay re-emits what is stored here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from tallystick.boundary.database import is_away
from tallystick.boundary.erasure.sealing import Sealing, SubjectOf
from tallystick.boundary.handlers import BatchHandler, Handler, PerBatch
from tallystick.boundary.horizons import OccurredAt, Recall
from tallystick.boundary.inbox_rows import InboxRows
from tallystick.boundary.owner_epoch import OwnerClaim, PartitionOwners
from tallystick.boundary.sql_batch import BatchOfEvents, EffectCounts
from tallystick.boundary.trail import Trail
from tallystick.clock import Clock, SystemClock
from tallystick.errors import AmbiguousOutcome, ConfigurationError, RetriableError
from tallystick.killpoints import declare, reach
from tallystick.pipeline.declared import Idempotent
from tallystick.pipeline.ports import Poisoned
from tallystick.pipeline.records import Output, Record

BEFORE_SQL_COMMIT: Final = declare("inbox.before-sql-commit", "all rows are written, the SQL transaction is open")
AFTER_SQL_COMMIT: Final = declare("inbox.after-sql-commit", "SQL is committed, Kafka is not")

MAX_TRIES: Final = 5
_PAUSE_S: Final = 0.1

_log = structlog.get_logger(__name__)


class SqlEffect:
    """Calls ``handler`` once for each event id, however often the event is read.

    One SQL transaction for each batch. If the connection is lost, also at commit, the whole batch is repeated on a new
    one: the repeated INSERT waits for whatever became of the first and then decides (rule 28).
    """

    idempotent: Final = Idempotent.BY_INBOX

    def __init__(
        self,
        engine: Engine,
        handler: Handler | BatchHandler | PerBatch,
        *,
        name: str,
        owner: OwnerClaim | PartitionOwners | None = None,
        clock: Clock | None = None,
        occurred_at_ms: OccurredAt | None = None,
        allow_reexecution: str | None = None,
        subject_of: SubjectOf | None = None,
    ) -> None:
        """``name`` is the inbox scope: frozen, since renaming it processes everything again.

        ``owner``: every transaction verifies this claim and raises ``FencedError`` once there is a newer owner. With
        ``PartitionOwners()`` that is a claim on each partition, taken anew whenever the assignment has changed.

        ``occurred_at_ms`` tells the time of an event, by default that of its record. An event older than the inbox
        remembers is poisoned, and one that is read again below what it remembers stops the worker, unless
        ``allow_reexecution`` names the decision to process such events again.

        ``subject_of`` tells whose personal data a record holds: what is stored of it is sealed under that subject's
        key, until the key is destroyed (``erasure``). A replay of an erased event gives nothing.
        """
        if not 0 < len(name) <= 200:
            raise ConfigurationError(f"an effect's name has 1 to 200 characters: {name!r}")
        if engine.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
            raise ConfigurationError(
                f"effect {name!r} is idempotent by its inbox, and its engine commits each statement by itself: the "
                "event would count as processed before it is",
                rule=25,
                remedy="Use open_database(url), or an engine without AUTOCOMMIT",
            )
        self._engine = engine
        self._name = name
        self._clock = clock or SystemClock()
        recall = Recall(name, occurred_at_ms or _record_time, allow_reexecution)
        self._batch = BatchOfEvents(name, _rows(engine.dialect.name), handler, recall, Sealing(name, subject_of))
        self._owner = owner
        self._look_first = False
        self._trail = Trail()
        self.counts = EffectCounts()

    def process(self, records: Sequence[Record]) -> Sequence[Sequence[Output] | Poisoned]:
        """Outputs for each record, new or stored, in input order; SQL is committed when it returns.

        Raises ``RetriableError`` or ``AmbiguousOutcome`` if the database is away: call again with the same records.
        """
        if not records:
            return []
        for tries in range(1, MAX_TRIES + 1):
            try:
                owners = self._owners(records)
                with self._engine.begin() as connection:
                    answers, counts = self._batch.run(
                        connection,
                        records,
                        now_ms=self._clock.now_ms(),
                        look_first=self._look_first,
                        trail=self._trail,
                        owners=owners,
                    )
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
            self._look_first = not (counts.processed or counts.too_old)
            return answers
        raise AssertionError("unreachable")

    def assignment_changed(self) -> None:
        """Called by the pipeline, in the thread that calls ``process``."""
        if isinstance(self._owner, PartitionOwners):
            self._owner.forget()

    def _owners(self, records: Sequence[Record]) -> Sequence[OwnerClaim]:
        if isinstance(self._owner, PartitionOwners):
            places = {(record.topic, record.partition) for record in records}
            return self._owner.claims(self._engine, self._name, places)
        return () if self._owner is None else (self._owner,)

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()


def _rows(dialect: str) -> InboxRows:
    if dialect == "postgresql":
        from tallystick.boundary.inbox_postgresql import PostgreSQLInbox

        return PostgreSQLInbox()
    from tallystick.boundary.inbox_sqlite import SQLiteInbox

    return SQLiteInbox()


def _record_time(record: Record) -> int:
    return record.timestamp_ms
