"""Ready-made sinks, on each database: with the inbox and without, a repetition changes nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import BigInteger, Column, Engine, MetaData, String, Table, select
from tests.support.boundary import record

from tallystick.boundary import Append, InsertIfAbsent, PerBatch, SqlEffect, UpsertNewest
from tallystick.boundary.handlers import BatchFunction
from tallystick.errors import ConfigurationError
from tallystick.pipeline.records import Record

metadata = MetaData()
price = Table(
    "price",
    metadata,
    Column("product", String(20), primary_key=True),
    Column("changed", BigInteger, nullable=False),
    Column("minor", BigInteger, nullable=False),
)
payment = Table("payment", metadata, Column("event_id", String(36), primary_key=True), Column("minor", BigInteger))


@pytest.fixture
def engine(engine: Engine) -> Engine:
    metadata.create_all(engine)
    return engine


def row(record: Record) -> dict[str, Any] | None:
    return None if record.value is None else dict(json.loads(record.value))


def change(number: int, changed: int, minor: int, product: str = "a") -> Record:
    return record(number, json.dumps({"product": product, "changed": changed, "minor": minor}).encode())


def write(engine: Engine, sink: BatchFunction, *records: Record) -> None:
    with engine.begin() as connection:
        sink(connection, records)


def prices(engine: Engine) -> list[tuple[Any, ...]]:
    with engine.begin() as connection:
        return [tuple(one) for one in connection.execute(select(price).order_by(price.c.product))]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_the_newest_version_wins_in_any_order_and_any_batches(engine: Engine, order: tuple[int, ...]) -> None:
    sink = UpsertNewest(price, ("product",), "changed", row)
    changes = [change(1, 10, 100), change(2, 20, 200), change(3, 30, 300)]
    write(engine, sink, *[changes[at] for at in order], change(4, 5, 50, "b"))
    assert prices(engine) == [("a", 30, 300), ("b", 5, 50)]
    for at in order:
        write(engine, sink, changes[at])
    write(engine, sink, change(5, 40, 400), record(6, None))
    assert prices(engine) == [("a", 40, 400), ("b", 5, 50)]


def test_the_first_of_a_key_stays(engine: Engine) -> None:
    sink = InsertIfAbsent(price, ("product",), row)
    write(engine, sink, change(1, 1, 100), change(2, 2, 200))
    write(engine, sink, change(3, 3, 300), change(4, 4, 400, "b"))
    assert prices(engine) == [("a", 1, 100), ("b", 4, 400)]


def test_each_event_is_appended_once_even_without_its_inbox(engine: Engine) -> None:
    sink = Append(payment, lambda record: {"minor": record.offset})
    effect = SqlEffect(engine, PerBatch(sink), name="pay")
    effect.process([record(1), record(2)])
    effect.process([record(2), record(3)])
    SqlEffect(engine, PerBatch(sink), name="renamed").process([record(1), record(2), record(3)])
    with engine.begin() as connection:
        assert sorted(connection.execute(select(payment.c.minor)).scalars()) == [1, 2, 3]


def test_a_table_that_cannot_tell_a_repetition_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no primary key or unique index on changed"):
        InsertIfAbsent(price, ("changed",), row)
    with pytest.raises(ConfigurationError, match="no column"):
        UpsertNewest(price, ("product",), "product", row)
