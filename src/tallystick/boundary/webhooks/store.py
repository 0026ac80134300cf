"""Webhooks as rows: stored before anybody is told 2xx, done only when the ledger has what they say.

Owns: ``tallystick_webhook_in``. Must not know: formats, signatures.

The primary key (provider, event id) makes a second delivery harmless. A row is RECEIVED until it is DONE, whatever
failed meanwhile: a webhook that failed to process is never a duplicate of itself (rule 35).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from sqlalchemy import Connection, Engine, func, select, update
from sqlalchemy.engine import RowMapping

from tallystick.boundary import schema
from tallystick.boundary.database import reading
from tallystick.boundary.erasure.sealed import keyed_hash, seal
from tallystick.boundary.erasure.subject_keys import SubjectKeys, opened
from tallystick.boundary.statements import insert
from tallystick.boundary.webhooks.formats import WebhookEvent
from tallystick.clock import Clock, SystemClock
from tallystick.ids import body_hash

_w = schema.webhook_in.c
_MAX_ERROR: Final = 500


class Progress(Enum):
    RECEIVED = "RECEIVED"
    DONE = "DONE"


@dataclass(frozen=True, slots=True)
class StoredWebhook:
    """One event, and how far it has come."""

    event: WebhookEvent
    state: Progress
    result: str | None
    deliveries: int
    tries: int
    last_error: str | None
    received_at_ms: int


class WebhookStore:
    """Rows of webhooks in one database. Holds no state; threads may share it."""

    def __init__(
        self,
        engine: Engine,
        *,
        clock: Clock | None = None,
        subject_of: Callable[[WebhookEvent], str | None] | None = None,
    ) -> None:
        """``subject_of`` tells whose personal data an event holds: its body is sealed under that subject's key."""
        self._engine = engine
        self._clock = clock or SystemClock()
        self._subject_of = subject_of or _nobody
        self._keys = SubjectKeys()

    def keep(self, events: Iterable[WebhookEvent]) -> int:
        """Store every event in one SQL transaction; returns how many are new. What is there is counted, not changed."""
        now_ms = self._clock.now_ms()
        new = 0
        with self._engine.begin() as connection:
            for event in events:
                statement = insert(connection, schema.webhook_in).values(
                    provider=event.provider,
                    event_id=event.event_id,
                    event_type=event.event_type,
                    **self._body(connection, event, now_ms),
                    state=Progress.RECEIVED.value,
                    received_at_ms=now_ms,
                    not_before_ms=now_ms,
                )
                statement = statement.on_conflict_do_update(
                    index_elements=["provider", "event_id"], set_={"deliveries": _w.deliveries + 1}
                )
                new += connection.execute(statement.returning(_w.deliveries)).scalar_one() == 1
        return new

    def _body(self, connection: Connection, event: WebhookEvent, now_ms: int) -> dict[str, object]:
        subject = self._subject_of(event)
        if subject is None:
            return {"body": event.body, "body_hash": body_hash(event.body)}
        key = self._keys.of(connection, [subject], now_ms=now_ms)[subject]
        return {"body": seal(key, event.body, place=_place(event)), "body_hash": keyed_hash(key, event.body)}

    def due(self, *, limit: int) -> tuple[StoredWebhook, ...]:
        """Events to process now, oldest first."""
        query = (
            select(schema.webhook_in)
            .where(_w.state == Progress.RECEIVED.value, _w.not_before_ms <= self._clock.now_ms())
            .order_by(_w.not_before_ms, _w.received_at_ms, _w.provider, _w.event_id)
            .limit(limit)
        )
        with reading(self._engine) as connection:
            return tuple(_stored(connection, row) for row in connection.execute(query).mappings())

    def lock(self, connection: Connection, event: WebhookEvent) -> bool:
        """Hold the event's row in this transaction; False if somebody else has it, or has done it."""
        query = (
            select(_w.event_id)
            .where(_w.provider == event.provider, _w.event_id == event.event_id, _w.state == Progress.RECEIVED.value)
            .with_for_update(skip_locked=True)
        )
        return connection.execute(query).scalar_one_or_none() is not None

    def finish(self, connection: Connection, event: WebhookEvent, result: str) -> None:
        """Done, in the transaction that brought what it says into the ledger."""
        connection.execute(
            update(schema.webhook_in)
            .where(_w.provider == event.provider, _w.event_id == event.event_id)
            .values(
                state=Progress.DONE.value,
                result=result,
                tries=_w.tries + 1,
                last_error=None,
                done_at_ms=self._clock.now_ms(),
            )
        )

    def postpone(self, event: WebhookEvent, error: str, *, pause_ms: int) -> None:
        """It failed: the reason is kept, and it is tried again after the pause."""
        with self._engine.begin() as connection:
            connection.execute(
                update(schema.webhook_in)
                .where(
                    _w.provider == event.provider, _w.event_id == event.event_id, _w.state == Progress.RECEIVED.value
                )
                .values(
                    tries=_w.tries + 1,
                    last_error=error[:_MAX_ERROR],
                    not_before_ms=self._clock.now_ms() + pause_ms,
                )
            )

    def waiting(self) -> int:
        """Events that are not done yet."""
        query = select(func.count()).select_from(schema.webhook_in).where(_w.state == Progress.RECEIVED.value)
        with reading(self._engine) as connection:
            return int(connection.execute(query).scalar_one())

    def entries(self) -> tuple[StoredWebhook, ...]:
        """Every event, oldest first."""
        query = select(schema.webhook_in).order_by(_w.received_at_ms, _w.provider, _w.event_id)
        with reading(self._engine) as connection:
            return tuple(_stored(connection, row) for row in connection.execute(query).mappings())


def _nobody(_event: WebhookEvent) -> None:
    return None


def _place(event: WebhookEvent) -> str:
    return f"webhook {event.provider} {event.event_id}"


def _stored(connection: Connection, row: RowMapping) -> StoredWebhook:
    event = WebhookEvent(row["provider"], row["event_id"], row["event_type"], row["body"])
    return StoredWebhook(
        event=replace(event, body=opened(connection, event.body, place=_place(event))),
        state=Progress(row["state"]),
        result=row["result"],
        deliveries=row["deliveries"],
        tries=row["tries"],
        last_error=row["last_error"],
        received_at_ms=row["received_at_ms"],
    )
