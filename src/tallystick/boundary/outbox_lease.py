"""Whose turn it is to publish, and which rows go with which Kafka transaction.

Owns: ``tallystick_outbox_relay`` and the columns ``batch`` and ``published_at_ms`` of the outbox. Must not know: Kafka.

The lease only keeps two relays from taking turns all the time. What keeps them from publishing a row twice is the
fencing token, which every transaction here verifies, together with Kafka's fencing of the transactional id: a batch is
numbered and committed here before its Kafka transaction begins, and that transaction carries a note that is random: a
number would be used again by a database that was restored, and by another one under the same name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, select, update

from tallystick.boundary import schema
from tallystick.boundary.database import reading
from tallystick.boundary.erasure.subject_keys import Opener
from tallystick.boundary.outbox import outbox_place
from tallystick.boundary.statements import insert
from tallystick.errors import FencedError

_relay = schema.outbox_relay.c
_outbox = schema.outbox.c

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that leave in one Kafka transaction, in their order. ``position_topic`` takes the transaction's note."""

    number: int
    note: str
    rows: Rows

    @property
    def position_topic(self) -> str:
        return str(self.rows[0]["topic"])


@dataclass(frozen=True, slots=True)
class Lease:
    """A relay's turn, from ``take`` until somebody else takes it."""

    engine: Engine
    name: str
    owner: str
    token: int
    incarnation: str
    lease_ms: int

    def pending(self, now_ms: int) -> Batch | None:
        """The batch that was begun and is not marked, whoever began it. There is one at most."""
        with self.engine.begin() as connection:
            number, note = self._verify(connection, now_ms)
            rows = self._rows(connection, number)
            return Batch(number, note, rows) if rows else None

    def begin(self, now_ms: int, *, done: Batch | None, limit: int, note: str) -> Batch | None:
        """Mark ``done`` as published and number the next rows, in one transaction; None if there are none."""
        with self.engine.begin() as connection:
            number, _ = self._verify(connection, now_ms)
            if done is not None:
                _mark(connection, done, now_ms)
            chosen = select(_outbox.sequence).where(_outbox.published_at_ms.is_(None)).order_by(_outbox.sequence)
            sequences = connection.execute(chosen.limit(limit)).scalars().all()
            if not sequences:
                return None
            number += 1
            connection.execute(update(schema.outbox).where(_outbox.sequence.in_(sequences)).values(batch=number))
            begun = update(schema.outbox_relay).where(_relay.name == self.name).values(batch=number, batch_note=note)
            connection.execute(begun)
            return Batch(number, note, self._rows(connection, number))

    def mark(self, done: Batch, now_ms: int) -> None:
        """Mark ``done`` as published."""
        with self.engine.begin() as connection:
            self._verify(connection, now_ms)
            _mark(connection, done, now_ms)

    def _verify(self, connection: Connection, now_ms: int) -> tuple[int, str]:
        """Renew the lease; the last batch's number and note. ``FencedError`` if another relay has taken its turn."""
        renewed = (
            update(schema.outbox_relay)
            .where(_relay.name == self.name, _relay.fencing_token == self.token)
            .values(lease_until_ms=now_ms + self.lease_ms)
            .returning(_relay.batch, _relay.batch_note)
        )
        found = connection.execute(renewed).one_or_none()
        if found is None:
            raise FencedError(f"another relay {self.name!r} has taken over from {self.owner}")
        return int(found[0]), str(found[1])

    def _rows(self, connection: Connection, number: int) -> Rows:
        query = (
            select(schema.outbox)
            .where(_outbox.published_at_ms.is_(None), _outbox.batch == number)
            .order_by(_outbox.sequence)
        )
        opener = Opener(connection)
        return [_opened(opener, row) for row in connection.execute(query).mappings()]


def _opened(opener: Opener, row: RowMapping) -> Mapping[str, Any]:
    parts = {"record_key": "key", "record_value": "value", "headers": "headers"}
    plain = {name: opener.opened(row[name], place=outbox_place(part, row["event_id"])) for name, part in parts.items()}
    return {**row, **plain}


def has_rows(engine: Engine) -> bool:
    """Whether there is anything to publish; asks without writing."""
    query = select(_outbox.sequence).where(_outbox.published_at_ms.is_(None)).limit(1)
    with reading(engine) as connection:
        return connection.execute(query).scalar_one_or_none() is not None


def take(
    engine: Engine, name: str, owner: str, *, now_ms: int, lease_ms: int, at_once: bool, incarnation: str
) -> Lease | None:
    """Take the turn if it is free; ``at_once``, even if it is not: a restart does not wait for its own past.

    ``incarnation`` is what the outbox will be told by if it has never been published.
    """
    statement = insert(engine, schema.outbox_relay).values(
        name=name, owner=owner, fencing_token=1, lease_until_ms=now_ms + lease_ms, incarnation=incarnation
    )
    statement = statement.on_conflict_do_update(
        index_elements=["name"],
        set_={"owner": owner, "fencing_token": _relay.fencing_token + 1, "lease_until_ms": now_ms + lease_ms},
        where=None if at_once else (_relay.lease_until_ms <= now_ms),
    )
    with engine.begin() as connection:
        found = connection.execute(statement.returning(_relay.fencing_token, _relay.incarnation)).one_or_none()
    return None if found is None else Lease(engine, name, owner, int(found[0]), str(found[1]), lease_ms)


def _mark(connection: Connection, done: Batch, now_ms: int) -> None:
    connection.execute(
        update(schema.outbox)
        .where(_outbox.published_at_ms.is_(None), _outbox.batch == done.number)
        .values(published_at_ms=now_ms)
    )
