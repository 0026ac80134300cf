"""An event in SQL: inbox, conflicts, outbox, and the attempts at a provider.

Owns: the questions. Must not know: what business rows mean; an application's own tables are its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final

from sqlalchemy import Connection, Table, inspect, or_, select

from tallystick.boundary import open_database, reading, schema
from tallystick.boundary.effect_tables import effect_attempt, effect_intent
from tallystick.boundary.erasure.sealed import key_id_of
from tallystick.trace.moment import Moment

IDS_MAX: Final = 500
"""More ids than this in one question are cut: databases have limits of their own."""


def moments(database_url: str, event_ids: Collection[str]) -> tuple[list[Moment], set[str]]:
    """What the database knows; and the names under which a provider's settlement file may have it."""
    ids = sorted(event_ids)[:IDS_MAX]
    engine = open_database(database_url, must_exist=True)
    try:
        there = set(inspect(engine).get_table_names())
        with reading(engine) as connection:
            found = [*_inbox(connection, ids, there), *_outbox(connection, ids, there)]
            attempts, names = _attempts(connection, ids, there)
    finally:
        engine.dispose()
    return [*found, *attempts], names


def _rows(connection: Connection, table: Table, condition: Any, there: Collection[str]) -> list[Any]:
    return list(connection.execute(select(table).where(condition))) if table.name in there else []


def _inbox(connection: Connection, ids: list[str], there: Collection[str]) -> Iterator[Moment]:
    inbox, conflict = schema.inbox, schema.inbox_conflict
    for row in _rows(connection, inbox, inbox.c.event_id.in_(ids), there):
        origin = "" if row.topic is None else f", read from {row.topic}-{row.partition}@{row.record_offset}"
        yield Moment(row.created_at_ms, row.event_id, f"sql:{inbox.name}", f"processed in scope {row.scope}{origin}")
    for row in _rows(connection, conflict, conflict.c.event_id.in_(ids), there):
        yield Moment(
            row.first_seen_at_ms,
            row.event_id,
            f"sql:{conflict.name}",
            f"CONFLICT: the same id with another body, seen {row.times_seen} times (rule 27)",
        )


def _outbox(connection: Connection, ids: list[str], there: Collection[str]) -> Iterator[Moment]:
    outbox = schema.outbox
    for row in _rows(connection, outbox, outbox.c.event_id.in_(ids), there):
        yield Moment(row.created_at_ms, row.event_id, f"sql:{outbox.name}", f"to be published to {row.topic}")
        if row.published_at_ms is not None:
            yield Moment(row.published_at_ms, row.event_id, f"sql:{outbox.name}", f"published to {row.topic}")


def _attempts(connection: Connection, ids: list[str], there: Collection[str]) -> tuple[list[Moment], set[str]]:
    intent, attempt = effect_intent, effect_attempt
    wanted = or_(intent.c.intent_id.in_(ids), intent.c.reference.in_(ids))
    intents = _rows(connection, intent, wanted, there)
    found, names = [], set[str]()
    for row in intents:
        names |= {row.intent_id, row.reference}
        text = f"intent to {row.operation} {row.amount_minor} {row.currency} minor units at {row.provider}"
        found.append(Moment(row.created_at_ms, row.intent_id, f"sql:{intent.name}", text))
    of_these = attempt.c.intent_id.in_([row.intent_id for row in intents])
    for row in _rows(connection, attempt, of_these, there):
        place = f"sql:{attempt.name}"
        number = f"attempt {row.attempt_number}"
        found.append(
            Moment(
                row.created_at_ms,
                row.intent_id,
                place,
                f"{number} {row.attempt_id}: {_bytes(row.request)}, hash {row.request_hash[:16]}",
            )
        )
        if row.first_sent_at_ms is not None:
            times = f"{number} sent, {row.times_sent} times in all, same bytes and same key"
            found.append(Moment(row.first_sent_at_ms, row.intent_id, place, times))
        if row.settled_at_ms is not None:
            outcome = f"{number} is {row.state}" + (f", {row.outcome_code}" if row.outcome_code else "")
            found.append(Moment(row.settled_at_ms, row.intent_id, place, outcome))
        else:
            found.append(Moment(None, row.intent_id, place, f"{number} is {row.state}"))
        names |= {name for name in (row.attempt_id, row.provider_object_id) if name}
    return found, names


def _bytes(request: bytes) -> str:
    return f"{len(request)} bytes" if key_id_of(request) is None else "bytes under the key of their subject"
