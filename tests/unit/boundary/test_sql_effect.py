"""A SQL effect happens once for each event id, and a replay gives what the first time gave."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError
from tests.support.boundary import emitted, record
from typer.testing import CliRunner

from tallystick.boundary import PartitionOwners, PerBatch, SqlEffect, take_ownership
from tallystick.cli.main import app
from tallystick.errors import ConfigurationError, FencedError, RetriableError
from tallystick.ids import derived_id
from tallystick.pipeline.records import Output, Record


class Booking:
    """Writes a row for each record, gives one output, and counts its calls."""

    def __init__(self, engine: Engine) -> None:
        self.calls: list[int] = []
        self.edges: list[str] = []
        self.fail_at: int | None = None
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE booking (record_offset INTEGER)"))

    def __call__(self, connection: Connection, record: Record) -> Iterable[Output]:
        self.calls.append(record.offset)
        if record.offset == self.fail_at:
            raise ValueError("cannot book")
        connection.execute(text("INSERT INTO booking VALUES (:offset)"), {"offset": record.offset})
        yield Output("booked", record.key, b"%d" % len(self.calls), derived_id(record.event_id, "book", 0))


class BatchBooking(Booking):
    def begin_batch(self, connection: Connection, records: Sequence[Record]) -> None:
        self.edges.append(f"begin {[r.offset for r in records]}")

    def end_batch(self, connection: Connection, records: Sequence[Record]) -> None:
        self.edges.append(f"end {[r.offset for r in records]}")


@pytest.fixture
def booking(engine: Engine) -> Booking:
    return Booking(engine)


def booked(engine: Engine) -> list[int]:
    with engine.begin() as connection:
        return list(connection.execute(text("SELECT record_offset FROM booking ORDER BY 1")).scalars())


def test_a_replay_calls_nothing_and_gives_the_stored_outputs(engine: Engine, booking: Booking) -> None:
    effect = SqlEffect(engine, booking, name="book")
    first = effect.process([record(1), record(2)])
    again = effect.process([record(1), record(2)])
    assert again == first
    assert [output.value for outputs in emitted(first) for output in outputs] == [b"1", b"2"]
    assert booking.calls == [1, 2]
    assert booked(engine) == [1, 2]
    assert (effect.counts.processed, effect.counts.replayed) == (2, 2)


def test_a_replay_in_another_batch_emits_in_input_order(engine: Engine, booking: Booking) -> None:
    effect = SqlEffect(engine, booking, name="book")
    effect.process([record(2), record(4)])
    outputs = effect.process([record(1), record(2), record(3), record(4)])
    assert [[output.value for output in per_record] for per_record in emitted(outputs)] == [
        [b"3"],
        [b"1"],
        [b"4"],
        [b"2"],
    ]
    assert booked(engine) == [1, 2, 3, 4]


def test_a_failing_record_leaves_nothing_of_its_batch(engine: Engine, booking: Booking) -> None:
    effect = SqlEffect(engine, booking, name="book")
    booking.fail_at = 2
    with pytest.raises(ValueError, match="cannot book"):
        effect.process([record(1), record(2)])
    assert booked(engine) == []
    booking.fail_at = None
    effect.process([record(1), record(2)])
    assert booked(engine) == [1, 2]
    assert effect.counts.processed == 2


def test_an_event_sent_twice_is_booked_and_emitted_once(engine: Engine, booking: Booking) -> None:
    effect = SqlEffect(engine, booking, name="book")
    outputs = effect.process([record(1), record(1, offset=9)])
    assert [len(per_record) for per_record in emitted(outputs)] == [1, 0]
    assert effect.process([record(1, offset=10)]) == [()]
    assert effect.counts.duplicates == 2
    with engine.begin() as connection:
        row = connection.execute(text("SELECT replays, duplicates FROM tallystick_inbox_position")).one()
    assert tuple(row) == (0, 2)


def test_the_same_id_with_another_body_is_kept_and_not_processed(engine: Engine, booking: Booking) -> None:
    effect = SqlEffect(engine, booking, name="book")
    effect.process([record(1, b"ten")])
    for _ in range(2):
        assert effect.process([record(1, b"eleven", offset=5)]) == [()]
    assert booked(engine) == [1]
    assert effect.counts.conflicts == 2
    with engine.begin() as connection:
        rows = connection.execute(text("SELECT body, record_offset, times_seen FROM tallystick_inbox_conflict")).all()
    assert [tuple(row) for row in rows] == [(b"eleven", 5, 2)]


def test_a_conflict_inside_one_batch_is_kept(engine: Engine, booking: Booking) -> None:
    effect = SqlEffect(engine, booking, name="book")
    outputs = effect.process([record(1, b"ten"), record(1, b"eleven", offset=2)])
    assert [len(per_record) for per_record in emitted(outputs)] == [1, 0]
    assert effect.counts.conflicts == 1


def test_a_tombstone_is_another_body_than_an_empty_one(engine: Engine, booking: Booking) -> None:
    effect = SqlEffect(engine, booking, name="book")
    effect.process([record(1, None)])
    effect.process([record(1, b"", offset=2)])
    assert effect.counts.conflicts == 1


def test_two_effects_with_other_names_see_the_same_event_each(engine: Engine, booking: Booking) -> None:
    SqlEffect(engine, booking, name="book").process([record(1)])
    SqlEffect(engine, booking, name="audit").process([record(1)])
    assert booked(engine) == [1, 1]


def test_a_handler_may_have_batch_edges_around_the_new_records(engine: Engine) -> None:
    booking = BatchBooking(engine)
    effect = SqlEffect(engine, booking, name="book")
    effect.process([record(1)])
    effect.process([record(1), record(2), record(3)])
    assert booking.edges == ["begin [1]", "end [1]", "begin [2, 3]", "end [2, 3]"]


def test_a_batch_without_new_records_has_no_edges(engine: Engine) -> None:
    booking = BatchBooking(engine)
    effect = SqlEffect(engine, booking, name="book")
    effect.process([record(1)])
    effect.process([record(1)])
    assert booking.edges == ["begin [1]", "end [1]"]


def test_a_zombie_writes_nothing_after_a_newer_owner_came(engine: Engine, booking: Booking) -> None:
    old = SqlEffect(engine, booking, name="book", owner=take_ownership(engine, "book/0"))
    old.process([record(1)])
    new = SqlEffect(engine, booking, name="book", owner=take_ownership(engine, "book/0"))
    with pytest.raises(FencedError, match="epoch 2, not 1"):
        old.process([record(2)])
    new.process([record(2)])
    assert booked(engine) == [1, 2]


def test_a_large_batch_is_one_batch(engine: Engine, booking: Booking) -> None:
    effect = SqlEffect(engine, booking, name="book")
    batch = [record(number) for number in range(4_500)]
    first = effect.process(batch)
    assert effect.process(batch) == first
    assert effect.counts.replayed == 4_500


def test_a_locked_database_is_no_records_fault(engine: Engine, booking: Booking, tmp_path: Path) -> None:
    effect = SqlEffect(engine, booking, name="book")
    with engine.connect() as settings:  # the one connection of the pool that will be used again
        settings.exec_driver_sql("PRAGMA busy_timeout=20")
    with closing(sqlite3.connect(tmp_path / "boundary.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(RetriableError, match="locked"):
            effect.process([record(1)])
    effect.process([record(1)])
    assert booked(engine) == [1]


def test_a_wrong_statement_is_the_handlers_fault(engine: Engine) -> None:
    def wrong(connection: Connection, record: Record) -> Iterable[Output]:
        connection.execute(text("INSERT INTO absent VALUES (1)"))
        return ()

    with pytest.raises(OperationalError, match="no such table"):
        SqlEffect(engine, wrong, name="book").process([record(1)])


def test_after_a_batch_without_news_a_new_event_is_still_new(engine: Engine, booking: Booking) -> None:
    effect = SqlEffect(engine, booking, name="book")
    first = effect.process([record(1), record(2)])
    for _ in range(3):  # the second of these looks before it inserts
        assert effect.process([record(2), record(1)]) == [first[1], first[0]]
    assert [len(outputs) for outputs in emitted(effect.process([record(1), record(3)]))] == [1, 1]
    assert booked(engine) == [1, 2, 3]
    assert (effect.counts.processed, effect.counts.replayed) == (3, 7)


def test_a_conflict_is_found_among_replays_and_beside_its_own_replay(engine: Engine) -> None:
    effect = SqlEffect(engine, PerBatch(lambda _connection, _records: None), name="book")
    effect.process([record(number) for number in range(3)])
    for _ in range(2):
        effect.process([record(0), record(1), record(1, b"other", offset=8), record(1, offset=9), record(2)])
    assert (effect.counts.replayed, effect.counts.conflicts, effect.counts.duplicates) == (6, 2, 2)


def test_a_batch_function_gets_the_new_records_at_once_and_answers_for_each(engine: Engine) -> None:
    batches: list[list[int]] = []

    def book(connection: Connection, records: Sequence[Record]) -> list[list[Output]]:
        batches.append([record.offset for record in records])
        return [[Output("booked", None, b"%d" % r.offset, derived_id(r.event_id, "book", 0))] for r in records]

    effect = SqlEffect(engine, PerBatch(book), name="book")
    effect.process([record(2)])
    outputs = emitted(effect.process([record(1), record(2), record(3)]))
    assert batches == [[2], [1, 3]]
    assert [output.value for one in outputs for output in one] == [b"1", b"2", b"3"]


def test_a_batch_function_that_answers_for_all_at_once_is_refused(engine: Engine) -> None:
    effect = SqlEffect(engine, PerBatch(lambda _connection, _records: [()]), name="book")
    with pytest.raises(ConfigurationError, match=r"1 results for 2 records.*rule 25"):
        effect.process([record(1), record(2)])


def test_conflicts_are_listed_and_shown(engine: Engine, booking: Booking) -> None:
    effect = SqlEffect(engine, booking, name="book")
    effect.process([record(1, b"ten"), record(1, b"eleven", offset=5), record(1, None, offset=6)])
    effect.process([record(1, b"eleven", offset=7)])
    url = str(engine.url)
    listed = CliRunner().invoke(app, ["inbox", "conflicts", "--database", url, "--json"])
    rows = [json.loads(line) for line in listed.stdout.splitlines()]
    assert {(row["refused_at"], row["processed_at"], row["times"]) for row in rows} == {
        ("orders-0@5", "orders-0@1", 2),
        ("orders-0@6", "orders-0@1", 1),
    }
    command = ["inbox", "show-conflict", "book", rows[0]["event_id"], "--database", url]
    assert sorted(CliRunner().invoke(app, command).stdout.splitlines()) == ["(no value)", "eleven"]
    assert CliRunner().invoke(app, ["inbox", "conflicts", "--database", url, "--scope", "other"]).exit_code == 0


def test_a_partition_that_went_to_another_worker_and_came_back_is_claimed_anew(
    engine: Engine, booking: Booking
) -> None:
    ours, theirs = (SqlEffect(engine, booking, name="book", owner=PartitionOwners()) for _ in range(2))
    ours.process([record(1)])
    theirs.process([record(2)])
    with pytest.raises(FencedError, match="book/orders/0"):
        ours.process([record(3)])
    ours.assignment_changed()
    ours.process([record(3)])
    with pytest.raises(FencedError):
        theirs.process([record(3)])
    assert booked(engine) == [1, 2, 3]
