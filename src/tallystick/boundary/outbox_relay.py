"""Publishes outbox rows to Kafka, in order, and marks them.

Owns: ``published_at_ms``. Must not know: what the records mean. A row is published at least once: after a crash
between the publish and the mark it leaves again with the same event id, by which every consumer dedupes (rule 34).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Final

import structlog
from sqlalchemy import Engine, func, select, update
from sqlalchemy.exc import DBAPIError

from tallystick.boundary import schema
from tallystick.boundary.database import is_away, reading
from tallystick.boundary.stored_outputs import decode_headers
from tallystick.clock import Clock, SystemClock
from tallystick.errors import ConfigurationError, RetriableError
from tallystick.ids import EVENT_ID_HEADER
from tallystick.killpoints import declare, reach

AFTER_PUBLISH: Final = declare("outbox.after-publish", "the rows' records are acknowledged by Kafka, no row is marked")
AFTER_MARK: Final = declare("outbox.after-mark", "the rows are marked as published")

_OWN_SETTINGS: Final = {"bootstrap.servers", "enable.idempotence", "acks", "transactional.id"}
_log = structlog.get_logger(__name__)


class OutboxRelay:
    """One relay for a database keeps the order of the rows; a second one only publishes some of them twice.

    The producer is idempotent (acks=all), so the order of one key holds over its own retries.
    """

    def __init__(
        self,
        engine: Engine,
        bootstrap: str,
        *,
        batch_rows: int = 500,
        poll_ms: int = 50,
        delivery_timeout_ms: int = 30_000,
        producer_config: Mapping[str, object] | None = None,
        clock: Clock | None = None,
    ) -> None:
        from confluent_kafka import Producer

        extra = dict(producer_config or {})
        if refused := _OWN_SETTINGS & extra.keys():
            raise ConfigurationError(f"the relay sets {', '.join(sorted(refused))} itself", rule=34)
        self._engine = engine
        self._batch_rows = batch_rows
        self._poll_ms = poll_ms
        self._delivery_timeout_ms = delivery_timeout_ms
        self._clock = clock or SystemClock()
        self._producer = Producer(
            {
                "linger.ms": 2,
                "delivery.timeout.ms": delivery_timeout_ms,
                **extra,
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "acks": "all",
            }
        )

    def run_once(self) -> int:
        """Publish and mark one batch; returns how many rows. ``RetriableError`` if Kafka did not take them all."""
        with reading(self._engine) as connection:
            rows = (
                connection.execute(
                    select(schema.outbox)
                    .where(schema.outbox.c.published_at_ms.is_(None))
                    .order_by(schema.outbox.c.sequence)
                    .limit(self._batch_rows)
                )
                .mappings()
                .all()
            )
        if not rows:
            return 0
        failures: list[str] = []

        def delivered(error: object, _message: object) -> None:
            if error is not None:
                failures.append(str(error))

        for row in rows:
            headers = decode_headers(row["headers"], place=f"tallystick_outbox {row['sequence']}")
            own = [(name, value) for name, value in headers if name != EVENT_ID_HEADER]
            optional = {"partition": row["partition"], "timestamp": row["timestamp_ms"]}
            self._producer.produce(
                row["topic"],
                key=row["record_key"],
                value=row["record_value"],
                headers=[*own, (EVENT_ID_HEADER, row["event_id"].encode("ascii"))],
                on_delivery=delivered,
                **{name: value for name, value in optional.items() if value is not None},
            )
        left = self._producer.flush(self._delivery_timeout_ms / 1000 + 5)
        if failures or left:
            raise RetriableError(
                f"outbox: {len(failures)} of {len(rows)} records were refused and {left} not acknowledged: "
                f"{failures[0] if failures else 'timeout'}"
            )
        reach(AFTER_PUBLISH)
        with self._engine.begin() as connection:
            connection.execute(
                update(schema.outbox)
                .where(schema.outbox.c.sequence.in_([row["sequence"] for row in rows]))
                .values(published_at_ms=self._clock.now_ms())
            )
        reach(AFTER_MARK)
        return len(rows)

    def run_until_idle(self) -> int:
        """Publish everything that is unpublished; returns how many rows."""
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
                count = 0
            except DBAPIError as error:
                if not is_away(error):
                    raise
                _log.warning("outbox.database-away", reason=str(error.orig))
                count = 0
            total += count
            if count == 0:
                stop.wait(self._poll_ms / 1000)
        return total

    def backlog(self) -> int:
        """Rows that are not published yet."""
        with reading(self._engine) as connection:
            return int(
                connection.execute(
                    select(func.count()).select_from(schema.outbox).where(schema.outbox.c.published_at_ms.is_(None))
                ).scalar_one()
            )

    def close(self) -> None:
        """Release the producer; nothing is waiting in it between calls."""
        self._producer.flush(1)
