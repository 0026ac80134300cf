"""The inbox on each database: concurrent inserts decide, and a commit whose answer is lost is settled by repeating."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Engine, text
from tests.support.boundary import ScriptedProvider, create_intents, emitted, keys, record, request_of, success
from tests.support.commit_cutter import CommitCutter

from tallystick.boundary import (
    Attempt,
    ChargeRequest,
    EffectDispatcher,
    EffectLedger,
    Outcome,
    SqlEffect,
    State,
    create_tables,
    inbox,
    open_database,
    reading,
    take_ownership,
)
from tallystick.errors import AmbiguousOutcome, FencedError
from tallystick.ids import derived_id
from tallystick.pipeline.records import Output, Record
from tallystick.servers import PostgreSQL


def book(connection: Connection, record: Record) -> Iterable[Output]:
    connection.execute(text("INSERT INTO booking VALUES (:offset)"), {"offset": record.offset})
    yield Output("booked", None, b"%d" % record.offset, derived_id(record.event_id, "book", 0))


def booked(engine: Engine) -> list[int]:
    with reading(engine) as connection:
        return list(connection.execute(text("SELECT record_offset FROM booking ORDER BY 1")).scalars())


@pytest.fixture
def engine(engine: Engine) -> Engine:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE booking (record_offset INTEGER)"))
    return engine


def test_tables_may_be_created_by_many_at_once(database_url: str) -> None:
    engines = [open_database(database_url) for _ in range(6)]
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(create_tables, engines))
    for engine in engines:
        engine.dispose()


def test_of_several_workers_with_the_same_events_one_books_each(database_url: str, engine: Engine) -> None:
    batch = [record(number) for number in range(60)]
    batches = [batch, list(reversed(batch)), batch[30:] + batch[:30], batch[::2] + batch[1::2]]
    effects = [SqlEffect(open_database(database_url), book, name="book") for _ in batches]
    with ThreadPoolExecutor(len(batches)) as threads:
        outputs = list(threads.map(lambda pair: pair[0].process(pair[1]), zip(effects, batches, strict=True)))
    for effect in effects:
        effect.close()
    assert booked(engine) == list(range(60))
    emitted = [{each.event_id for per_record in one for each in per_record} for one in outputs]
    assert all(len(ids) == 60 for ids in emitted), "who came second gives what the first stored"


def test_once_alone(database_url: str, engine: Engine) -> None:
    with engine.begin() as connection:
        assert inbox.once(connection, "e-1", b"body")
    with engine.begin() as connection:
        assert not inbox.once(connection, "e-1", b"body")
        with pytest.raises(inbox.BodyConflict):
            inbox.once(connection, "e-1", b"other")


def test_a_new_owner_waits_for_the_old_ones_transaction_and_then_fences_it(engine: Engine) -> None:
    old = take_ownership(engine, "accounts/0")
    taken = threading.Event()

    def take() -> None:
        take_ownership(engine, "accounts/0")
        taken.set()

    with engine.begin() as connection:
        old.verify(connection)
        thread = threading.Thread(target=take)
        thread.start()
        assert not taken.wait(0.3)
        connection.execute(text("INSERT INTO booking VALUES (1)"))
    thread.join()
    with pytest.raises(FencedError), engine.begin() as connection:
        old.verify(connection)
    assert booked(engine) == [1]


@pytest.mark.postgres
class TestPostgreSQLAlone:
    """What only a database behind a socket can do to us."""

    @pytest.fixture
    def url(self, postgres_server: Any) -> Iterator[str]:
        from tests.support.databases import fresh_postgres_database

        with fresh_postgres_database(postgres_server) as url:
            engine = open_database(url)
            create_tables(engine)
            with engine.begin() as connection:
                connection.execute(text("CREATE TABLE booking (record_offset INTEGER)"))
            engine.dispose()
            yield url

    def test_once_with_a_psycopg_connection(self, url: str) -> None:
        with psycopg.connect(url.replace("+psycopg", "")) as connection:
            assert inbox.once(connection, "e-1", b"body")
            assert not inbox.once(connection, "e-1", b"body")

    @pytest.mark.parametrize("reaches_the_server", [True, False])
    def test_a_commit_whose_answer_is_lost_is_settled_by_repeating_the_insert(
        self, url: str, reaches_the_server: bool
    ) -> None:
        with CommitCutter(url, reaches_the_server=reaches_the_server) as proxy:
            effect = SqlEffect(open_database(proxy.url), book, name="book")
            outputs = effect.process([record(1), record(2)])
            effect.close()
        direct = open_database(url)
        assert booked(direct) == [1, 2]
        direct.dispose()
        assert len(proxy.cuts) == 1, "the commit was cut"
        assert [[each.value for each in per_record] for per_record in emitted(outputs)] == [[b"1"], [b"2"]]
        expected = (0, 2) if reaches_the_server else (2, 0)
        assert (effect.counts.processed, effect.counts.replayed) == expected

    def test_a_database_that_restarts_is_waited_out_by_effect_and_dispatcher(self) -> None:
        with PostgreSQL(settings={"fsync": "off"}) as server:  # its own: the others keep connections open
            engine = open_database(server.url)
            create_tables(engine)
            with engine.begin() as connection:
                connection.execute(text("CREATE TABLE booking (record_offset INTEGER)"))
            self.work_through_restarts(engine, server)

    def work_through_restarts(self, engine: Engine, server: PostgreSQL) -> None:
        ledger = EffectLedger(engine)
        ids = create_intents(engine, ledger, 60)
        amounts = {request_of(intent_id, 100 + number): 100 + number for number, intent_id in enumerate(ids)}
        told: list[str] = []

        def answer(request: ChargeRequest) -> Outcome:
            return success(amounts[request.body], object_id=f"ch_{amounts[request.body]}")

        def on_outcome(connection: Connection, attempt: Attempt, outcome: Outcome) -> None:
            if len(told) == 20:
                told.append("restart")
                server.restart()
            told.append(attempt.intent_id)

        provider = ScriptedProvider(answer)
        dispatcher = EffectDispatcher(ledger, lambda: provider, on_outcome, concurrency=4, lease_ms=2_000)
        assert dispatcher.run_until_idle(timeout_s=60).remaining == 0
        assert ledger.count_by_state()[State.SUCCEEDED] == 60
        assert len(set(keys(provider.sent))) == 60

        effect = SqlEffect(engine, book, name="book")
        effect.process([record(1)])
        server.restart()
        effect.process([record(1), record(2)])
        assert booked(engine) == [1, 2]
        effect.close()

    def test_a_database_that_stays_away_is_no_records_fault(self) -> None:
        effect = SqlEffect(open_database("postgresql://nobody@127.0.0.1:1/none"), book, name="book")
        with pytest.raises(AmbiguousOutcome, match="5 tries"):
            effect.process([record(1)])
        effect.close()
