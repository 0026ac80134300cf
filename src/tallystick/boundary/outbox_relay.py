"""Publishes outbox rows to Kafka, in order, each exactly once.

Owns: one Kafka transaction for each batch, with the batch's note beside a position in it, and finding out at a start
what became of the last one. Must not know: what the records mean, whose turn it is (``outbox_lease``).

The note is what makes it exact. A relay that dies between Kafka's commit and the mark in SQL leaves a batch whose rows
are not marked. Its successor settles the transaction by taking the transactional id, reads the note, and then knows:
published, or not (rule 34).
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from typing import Any, Final

import structlog
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import DBAPIError

from tallystick.boundary import schema
from tallystick.boundary.database import is_away, reading
from tallystick.boundary.outbox_lease import Batch, Lease, take
from tallystick.boundary.outbox_wakeup import Wakeup
from tallystick.boundary.stored_outputs import decode_headers
from tallystick.clock import Clock, SystemClock
from tallystick.errors import ConfigurationError, FencedError, RetriableError, TallystickError
from tallystick.ids import EventId, TransactionalId
from tallystick.killpoints import declare, reach
from tallystick.pipeline.kafka_client import Producer, UnjoinedGroup
from tallystick.pipeline.patience import Patience
from tallystick.pipeline.records import Output

AFTER_BEGIN: Final = declare("outbox.after-begin", "the rows have their batch number, Kafka knows nothing of them")
BEFORE_COMMIT: Final = declare("outbox.before-commit", "the rows' records are sent, the transaction is open")
AFTER_PUBLISH: Final = declare("outbox.after-publish", "Kafka has committed the rows' records, no row is marked")
AFTER_MARK: Final = declare("outbox.after-mark", "the rows are marked as published")

_OWN_SETTINGS: Final = {"bootstrap.servers", "enable.idempotence", "acks", "transactional.id", "transaction.timeout.ms"}
_APPLICATION: Final = "tallystick-outbox"
_log = structlog.get_logger(__name__)


class OutboxRelay:
    """One relay publishes at a time. A second one with the same name takes over when it starts, and the first then
    waits until the second is gone for ``lease_ms``: a stand-by. Rows leave in the order of their sequence; those of
    one key keep the order in which their transactions committed, if these wrote one after the other."""

    def __init__(
        self,
        engine: Engine,
        bootstrap: str,
        *,
        name: str = "outbox",
        batch_rows: int = 500,
        poll_ms: int = 50,
        lease_ms: int = 10_000,
        delivery_timeout_ms: int = 30_000,
        producer_config: Mapping[str, object] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """``poll_ms``: how long to wait when there is nothing, where the database does not call (SQLite).

        ``name`` and the outbox's incarnation are the transactional id, and the group that holds the position.
        """
        extra = dict(producer_config or {})
        if refused := _OWN_SETTINGS & extra.keys():
            raise ConfigurationError(f"the relay sets {', '.join(sorted(refused))} itself", rule=34)
        self._engine = engine
        self._name = name
        self._batch_rows = batch_rows
        self._lease_ms = lease_ms
        self._timeout_ms = delivery_timeout_ms
        self._clock = clock or SystemClock()
        self._owner = secrets.token_hex(8)
        self._wakeup = Wakeup(engine, poll_ms)
        self._client: dict[str, Any] = {"bootstrap.servers": bootstrap}
        self._settings: dict[str, Any] = {
            "linger.ms": 2,
            "delivery.timeout.ms": delivery_timeout_ms,
            "transaction.timeout.ms": delivery_timeout_ms + 10_000,
            **extra,
            **self._client,
            "enable.idempotence": True,
            "acks": "all",
        }
        TransactionalId(_APPLICATION, name, "relay", 0)  # refuses a name that cannot be part of one
        security = {key: value for key, value in extra.items() if key.startswith(("sasl.", "ssl.", "security."))}
        self._client |= security
        self._group: UnjoinedGroup | None = None
        self._lease: Lease | None = None
        self._producer: Producer | None = None
        self._done: Batch | None = None
        self._started = False
        self._renew_at_ms = 0

    def run_once(self) -> int:
        """Publish one batch; returns how many rows, 0 also if it is another relay's turn.

        ``RetriableError`` if Kafka did not take them all: then it has none of them.
        """
        try:
            lease = self._turn()
            if lease is None:
                return 0
            producer = self._ready(lease)
            batch = lease.begin(
                self._clock.now_ms(), done=self._done, limit=self._batch_rows, note=secrets.token_hex(8)
            )
            if self._done is not None:
                reach(AFTER_MARK)
            self._done = None
            if batch is None:
                return 0
            reach(AFTER_BEGIN)
            self._publish(lease, producer, batch)
        except FencedError as error:
            _log.warning("outbox.fenced", relay=self._name, reason=str(error))
            self._forget_producer()
            if self._lease is not None and not self._still_ours(self._lease):
                self._lease = None
            return 0
        except RetriableError:
            self._forget_producer()
            raise
        except TallystickError as error:
            self._forget_producer()
            raise RetriableError(f"outbox: {error}") from error
        self._done = batch
        return len(batch.rows)

    def run_until_idle(self) -> int:
        """Publish everything that is unpublished and mark it; returns how many rows."""
        total = 0
        while count := self.run_once():
            total += count
        return total

    def run(self, stop: threading.Event) -> int:
        """Publish until ``stop`` is set; waits out a broker or a database that is away. Returns how many rows."""
        total = 0
        while not stop.is_set():
            try:
                count = self.run_once()
            except RetriableError as error:
                _log.warning("outbox.not-published", reason=str(error))
                stop.wait(1)
                continue
            except DBAPIError as error:
                if not is_away(error):
                    raise
                _log.warning("outbox.database-away", reason=str(error.orig))
                stop.wait(1)
                continue
            total += count
            if count == 0:
                self._wakeup.wait(stop)
        return total

    def backlog(self) -> int:
        """Rows that are not marked as published yet."""
        with reading(self._engine) as connection:
            return int(
                connection.execute(
                    select(func.count()).select_from(schema.outbox).where(schema.outbox.c.published_at_ms.is_(None))
                ).scalar_one()
            )

    def close(self) -> None:
        """Release the clients; what is published and not marked, the next relay finds out."""
        self._forget_producer()
        if self._group is not None:
            self._group.close()
        self._wakeup.close()

    def _turn(self) -> Lease | None:
        if self._lease is None:
            now_ms = self._clock.now_ms()
            self._lease = take(
                self._engine,
                self._name,
                self._owner,
                now_ms=now_ms,
                lease_ms=self._lease_ms,
                at_once=not self._started,
                incarnation=secrets.token_hex(8),
            )
            self._started = True
        return self._lease

    def _still_ours(self, lease: Lease) -> bool:
        try:
            lease.pending(self._clock.now_ms())
        except FencedError:
            return False
        return True

    def _ready(self, lease: Lease) -> Producer:
        """A producer that has settled the past. A connection that was lost makes the next end ambiguous (rule 15)."""
        if self._producer is not None:
            self._producer.poll()
            if self._producer.suspicion is None:
                return self._producer
            self._forget_producer()
        own_id = TransactionalId(_APPLICATION, self._name, lease.incarnation, 0)
        producer = Producer({**self._settings, "transactional.id": str(own_id)})
        producer.init_transactions()  # fences the relay before, and ends its transaction one way or the other
        self._producer = producer
        pending = lease.pending(self._clock.now_ms())
        if pending is not None:
            if self._note(lease, pending) != pending.note:
                self._publish(lease, producer, pending)
            lease.mark(pending, self._clock.now_ms())
        self._done = None
        return producer

    def _publish(self, lease: Lease, producer: Producer, batch: Batch) -> None:
        producer.begin()
        producer.produce([_output(row) for row in batch.rows])
        place = (batch.position_topic, 0)
        producer.send_position(place, batch.number, batch.note, self._position(lease).metadata())
        reach(BEFORE_COMMIT)
        producer.commit(self._timeout_ms)
        reach(AFTER_PUBLISH)

    def _position(self, lease: Lease) -> UnjoinedGroup:
        if self._group is None:
            self._group = UnjoinedGroup(self._client, f"{_APPLICATION}.{self._name}.{lease.incarnation}")
        return self._group

    def _note(self, lease: Lease, pending: Batch) -> str | None:
        """What the last transaction left. A coordinator that has just moved, or is loading, says "not yet" for a while
        (NOT_COORDINATOR), and then answers."""
        place = (pending.position_topic, 0)
        patience = Patience(SystemClock(), threading.Event(), limit_ms=self._timeout_ms)
        return patience.call("the outbox's position", lambda: self._position(lease).note(place))

    def _forget_producer(self) -> None:
        if self._producer is not None:
            self._producer.discard()
            self._producer = None
        self._done = None


def _output(row: Mapping[str, Any]) -> Output:
    return Output(
        row["topic"],
        row["record_key"],
        row["record_value"],
        EventId(row["event_id"]),
        decode_headers(row["headers"], place=f"tallystick_outbox {row['sequence']}"),
        row["partition"],
        row["timestamp_ms"],
    )
