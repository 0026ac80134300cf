"""The events, and the tables that they are written to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from sqlalchemy import Engine, text

from tallystick.boundary import create_tables
from tallystick.ids import deterministic_id
from tallystick.pipeline.records import Record

BATCH: Final = 5_000
LOOP_BATCH: Final = 500


def batches(records: Sequence[Record], size: int = BATCH) -> Iterator[Sequence[Record]]:
    for start in range(0, len(records), size):
        yield records[start : start + size]


def events(count: int, *, first: int = 0) -> list[Record]:
    return [
        Record(
            topic="orders",
            partition=number % 4,
            offset=number // 4,
            key=b"customer-17",
            value=b'{"order": %d, "customer": 17, "amount_minor": 1999, "currency": "EUR"}' % number,
            headers=(),
            timestamp_ms=1_700_000_000_000,
            event_id=deterministic_id("bench.boundary", number),
        )
        for number in range(first, first + count)
    ]


def make_tables(engine: Engine) -> None:
    """The boundary's, and one business table with a unique index and one without."""
    create_tables(engine)
    with engine.begin() as connection:
        for statement in (
            "CREATE TABLE hand (id TEXT NOT NULL, amount BIGINT NOT NULL)",
            "CREATE UNIQUE INDEX hand_id ON hand (id)",
            "CREATE TABLE bare (id TEXT NOT NULL, amount BIGINT NOT NULL)",
        ):
            connection.execute(text(statement))
