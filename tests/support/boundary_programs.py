"""Small programs that the kill tests run as processes, and kill: an inbox consumer and an effect dispatcher.

``python boundary_programs.py effects DATABASE_URL PROVIDER_URL`` and
``python boundary_programs.py inbox DATABASE_URL LOG RECORDS``, where LOG stands for Kafka: one line for each batch
that "committed", with its outputs and the next offset.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, text
from tests.support.boundary import emitted, record

from tallystick.boundary import (
    Attempt,
    EffectDispatcher,
    EffectLedger,
    Outcome,
    SqlEffect,
    State,
    StripeLike,
    add_to_outbox,
    open_database,
)
from tallystick.ids import EventId, derived_id
from tallystick.pipeline import records

BATCH = 5
TIMEOUT_MS = 1_200


def post(connection: Connection, attempt: Attempt, outcome: Outcome) -> None:
    """A posting without any unique key, so that doing it twice shows; and the outbox row."""
    if attempt.state is State.SUCCEEDED:
        values = {"intent": attempt.intent_id, "amount": outcome.amount_minor}
        connection.execute(text("INSERT INTO posting VALUES (:intent, :amount)"), values)
        event_id = derived_id(EventId(attempt.attempt_id), "outcome", 0)
        add_to_outbox(connection, [records.Output("payment.outcomes", None, b"paid", event_id)])


def effects(database_url: str, provider_url: str) -> None:
    engine = open_database(database_url)
    provider = partial(StripeLike, provider_url, timeout_ms=TIMEOUT_MS, quiet_ms=500)
    dispatcher = EffectDispatcher(
        EffectLedger(engine), provider, post, concurrency=8, lease_ms=2 * TIMEOUT_MS, retry_ms=50
    )
    report = dispatcher.run_until_idle(timeout_s=100)
    engine.dispose()
    if report.remaining:
        sys.exit(f"{report.remaining} attempts are left open")


def book(connection: Connection, record: records.Record) -> Iterable[records.Output]:
    connection.execute(text("INSERT INTO booking VALUES (:offset)"), {"offset": record.offset})
    yield records.Output("booked", None, b"%d" % record.offset, derived_id(record.event_id, "book", 0))


def inbox(database_url: str, log: str, count: int) -> None:
    engine = open_database(database_url)
    effect = SqlEffect(engine, book, name="book")
    path = Path(log)
    lines = path.read_text().splitlines() if path.exists() else []
    position = json.loads(lines[-1])["next"] if lines else 0
    while position < count:
        batch = [record(number) for number in range(position, min(position + BATCH, count))]
        outputs = effect.process(batch)
        position += len(batch)
        values = [output.value.decode() for per_record in emitted(outputs) for output in per_record if output.value]
        with path.open("a") as sink:
            sink.write(json.dumps({"next": position, "outputs": values}) + "\n")
    effect.close()


if __name__ == "__main__":
    if sys.argv[1] == "effects":
        effects(sys.argv[2], sys.argv[3])
    else:
        inbox(sys.argv[2], sys.argv[3], int(sys.argv[4]))
