"""What is stored about a person can be made unreadable, and everything else stays as it was, on each database."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, Engine, select, text
from sqlalchemy.exc import OperationalError
from tests.support.boundary import ScriptedProvider, emitted, record, request_of, success
from typer.testing import CliRunner

from tallystick.boundary import (
    EffectDispatcher,
    EffectLedger,
    SqlEffect,
    add_to_outbox,
    schema,
)
from tallystick.boundary.conflicts import refused_bodies
from tallystick.boundary.erasure import erase, holdings
from tallystick.boundary.erasure.subject_keys import ERASED, SubjectKeys
from tallystick.boundary.erasure_tables import erasure, subject_key
from tallystick.boundary.outbox_lease import take
from tallystick.boundary.stored_outputs import decode_headers
from tallystick.boundary.webhooks import StripeWebhook, WebhookProcessor, WebhookStore
from tallystick.boundary.webhooks.formats import WebhookEvent
from tallystick.cli.main import app
from tallystick.errors import ConfigurationError, CorruptData
from tallystick.ids import body_hash, derived_id
from tallystick.killpoints import ENV_KILL_AT
from tallystick.pipeline.records import Output, Record

ROOT = Path(__file__).parents[2]
NAME = b"Ada Lovelace, 12 St James's Square"
ADA, BOB = record(1, NAME), record(2, b"Bob")
SUBJECTS = {ADA.event_id: "ada@example.org", BOB.event_id: "bob"}
NOW_MS = 1_700_000_000_000


class Greeting:
    """Gives each record's value back, and counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, connection: Connection, record: Record) -> Iterator[Output]:
        self.calls += 1
        yield Output("greeted", None, record.value, derived_id(record.event_id, "greet", 0))


@pytest.fixture
def greeting() -> Greeting:
    return Greeting()


@pytest.fixture
def effect(engine: Engine, greeting: Greeting) -> SqlEffect:
    return SqlEffect(engine, greeting, name="greet", subject_of=lambda each: SUBJECTS.get(each.event_id))


def forget_ada(engine: Engine) -> None:
    erase(engine, "ada@example.org", by="dpo", reason="asked on 3 May", now_ms=NOW_MS)


def everything_stored(engine: Engine) -> bytes:
    """All text and bytes of all our tables."""
    found = b""
    with engine.begin() as connection:
        for table in schema.metadata.sorted_tables:
            for row in connection.execute(select(table)):
                found += b"|".join(bytes(c) if isinstance(c, (bytes, memoryview)) else str(c).encode() for c in row)
    return found


def test_a_replay_of_an_erased_event_gives_nothing_and_calls_nothing(
    engine: Engine, effect: SqlEffect, greeting: Greeting
) -> None:
    first = effect.process([ADA, BOB])
    assert effect.process([ADA, BOB]) == first
    forget_ada(engine)
    assert [len(outputs) for outputs in emitted(effect.process([ADA, BOB]))] == [0, 1]
    assert greeting.calls == 2
    assert effect.counts.conflicts == 0


def test_neither_the_bytes_nor_a_hash_that_can_be_guessed_are_stored(engine: Engine, effect: SqlEffect) -> None:
    effect.process([ADA, record(1, NAME + b"!", offset=9)])
    stored = everything_stored(engine)
    assert b"Lovelace" not in stored
    assert b"ada@example.org" not in stored
    assert body_hash(NAME).encode() not in stored


def test_a_conflict_of_a_subject_is_kept_sealed_and_erased_with_the_rest(engine: Engine, effect: SqlEffect) -> None:
    effect.process([ADA])
    effect.process([record(1, b"Eve", offset=5)])
    assert [body for _, body in refused_bodies(engine, "greet", ADA.event_id)] == [b"Eve"]
    forget_ada(engine)
    assert [body for _, body in refused_bodies(engine, "greet", ADA.event_id)] == [ERASED]


def test_another_body_of_an_erased_event_is_no_conflict_because_nobody_can_tell(
    engine: Engine, effect: SqlEffect
) -> None:
    effect.process([ADA])
    forget_ada(engine)
    assert effect.process([record(1, b"Eve", offset=5)]) == [()]
    assert effect.counts.duplicates == 1


def test_rows_from_before_the_effect_sealed_are_still_known(engine: Engine, effect: SqlEffect) -> None:
    plain = Greeting()
    first = SqlEffect(engine, plain, name="greet").process([ADA])
    assert effect.process([ADA]) == first
    effect.process([record(1, b"Eve", offset=5)])
    assert effect.counts.conflicts == 1


def test_a_subject_that_comes_back_has_a_new_key_and_its_past_stays_erased(engine: Engine, effect: SqlEffect) -> None:
    effect.process([ADA])
    forget_ada(engine)
    again = record(3, b"Ada again")
    SUBJECTS[again.event_id] = "ada@example.org"
    first = effect.process([again])
    assert effect.process([ADA, again]) == [(), *first]
    assert holdings(engine, "ada@example.org").rows["tallystick_inbox"] == 1


def test_bytes_that_were_moved_to_another_row_do_not_open(engine: Engine, effect: SqlEffect) -> None:
    effect.process([ADA, BOB])
    swap = text("UPDATE tallystick_inbox SET outputs = (SELECT outputs FROM tallystick_inbox WHERE event_id = :from)")
    with engine.begin() as connection:
        connection.execute(swap, {"from": BOB.event_id})
    with pytest.raises(CorruptData, match="do not open under their key"):
        effect.process([ADA])


def intent(engine: Engine, ledger: EffectLedger) -> bool:
    with engine.begin() as connection:
        return ledger.create_intent(
            connection,
            intent_id="order-1",
            provider="stripe",
            amount_minor=100,
            currency="USD",
            reference="order-1",
            request=request_of("order-1", 100),
            subject="ada@example.org",
        )


def test_an_attempt_sends_its_plain_bytes_and_can_be_erased_once_it_is_settled(engine: Engine) -> None:
    ledger = EffectLedger(engine)
    assert intent(engine, ledger)
    assert not intent(engine, ledger)
    provider = ScriptedProvider(lambda _request: success(100))
    (waiting,) = ledger.attempts()
    assert b"customer" not in everything_stored(engine)
    with pytest.raises(ConfigurationError, match=r"1 attempts that are not settled.*rule 31"):
        forget_ada(engine)
    EffectDispatcher(ledger, lambda: provider, lambda *_: None).run_until_idle(timeout_s=20)
    assert [sent.body for sent in provider.sent] == [request_of("order-1", 100)] == [waiting.request]
    assert holdings(engine, "ada@example.org").rows["tallystick_effect_attempt"] == 1
    forget_ada(engine)
    assert [attempt.request for attempt in ledger.attempts()] == [ERASED]
    assert not intent(engine, ledger)


def test_an_answer_is_sealed_like_its_request(engine: Engine) -> None:
    ledger = EffectLedger(engine)
    intent(engine, ledger)
    provider = ScriptedProvider(lambda _request: replace(success(100), response=NAME))
    EffectDispatcher(ledger, lambda: provider, lambda *_: None).run_until_idle(timeout_s=20)
    (attempt,) = ledger.attempts()
    assert ledger.response(attempt.attempt_id) == NAME
    assert NAME not in everything_stored(engine)
    forget_ada(engine)
    assert ledger.response(attempt.attempt_id) == ERASED


def test_a_webhook_is_stored_sealed_read_plain_and_erased_once_it_is_processed(engine: Engine) -> None:
    event = WebhookEvent("stripe", "evt_1", "customer.updated", json.dumps({"name": NAME.decode()}).encode())
    store = WebhookStore(engine, subject_of=lambda _event: "ada@example.org")
    assert store.keep([event]) == 1
    assert store.keep([event]) == 0
    assert b"Lovelace" not in everything_stored(engine)
    with pytest.raises(ConfigurationError, match="1 webhooks that are not processed"):
        forget_ada(engine)
    seen: list[bytes] = []
    formats = [StripeWebhook(secrets=["whsec_1234567890"])]
    WebhookProcessor(
        engine,
        EffectLedger(engine),
        formats,
        lambda *_: None,
        store=store,
        on_event=lambda _connection, each: seen.append(each.body),
    ).run_once()
    assert seen == [event.body]
    forget_ada(engine)
    assert [stored.event.body for stored in store.entries()] == [ERASED]


def test_a_record_in_the_outbox_is_published_plain_and_erased_once_it_is_published(engine: Engine) -> None:
    sent = Output("greeted", b"Ada", NAME, ADA.event_id, (("who", b"Lovelace"),))
    gone = Output("greeted", b"Ada", None, BOB.event_id)
    with engine.begin() as connection:
        assert add_to_outbox(connection, [sent, gone], subject="ada@example.org") == 2
        assert add_to_outbox(connection, [sent], subject="ada@example.org") == 0
    assert b"Lovelace" not in everything_stored(engine)
    with pytest.raises(ConfigurationError, match="2 records that are not published"):
        forget_ada(engine)
    lease = take(engine, "outbox", "test", now_ms=NOW_MS, lease_ms=1_000, at_once=True, incarnation="1")
    assert lease is not None
    batch = lease.begin(NOW_MS, done=None, limit=10, note="n")
    assert batch is not None
    assert [(row["record_key"], row["record_value"]) for row in batch.rows] == [(b"Ada", NAME), (b"Ada", None)]
    assert decode_headers(batch.rows[0]["headers"], place="") == sent.headers
    lease.mark(batch, NOW_MS)
    assert holdings(engine, "ada@example.org").rows["tallystick_outbox"] == 2
    forget_ada(engine)
    assert holdings(engine, "ada@example.org").key_ids == ()


def test_who_erased_what_and_why_is_kept_and_a_second_time_is_refused(engine: Engine, effect: SqlEffect) -> None:
    effect.process([ADA])
    forget_ada(engine)
    with engine.begin() as connection:
        kept = connection.execute(select(erasure)).mappings().one()
        keys = connection.execute(select(subject_key.c.data_key, subject_key.c.destroyed_at_ms)).one()
    assert (kept["sealed_rows"], kept["erased_by"], kept["reason"]) == (1, "dpo", "asked on 3 May")
    assert tuple(keys) == (None, NOW_MS)
    with pytest.raises(ConfigurationError, match=r"there is no key of subject 'ada@example\.org'"):
        forget_ada(engine)


def test_the_command_shows_first_and_erases_when_told(database_url: str, engine: Engine, effect: SqlEffect) -> None:
    effect.process([ADA, BOB])
    run = CliRunner().invoke
    shown = run(app, ["erase", "ada@example.org", "--database", database_url, "--json"])
    assert {row["table"]: row["rows"] for row in map(json.loads, shown.output.splitlines())} == {
        "tallystick_inbox": 1,
        "tallystick_inbox_conflict": 0,
        "tallystick_effect_attempt": 0,
        "tallystick_effect_suspense": 0,
        "tallystick_webhook_in": 0,
        "tallystick_outbox": 0,
    }
    assert isinstance(
        run(app, ["erase", "ada@example.org", "--database", database_url, "--execute"]).exception, ConfigurationError
    )
    assert len(holdings(engine, "ada@example.org").key_ids) == 1
    done = run(
        app, ["erase", "ada@example.org", "--database", database_url, "--execute", "--reason", "asked", "--by", "dpo"]
    )
    assert "erased: 1 rows, 1 key destroyed, by dpo: asked" in done.output
    assert "erased before" in run(app, ["erase", "ada@example.org", "--database", database_url]).output
    assert len(holdings(engine, "bob").key_ids) == 1


@pytest.mark.parametrize("kill_point", ["erasure.key-destroyed", "erasure.before-commit"])
def test_a_kill_between_the_key_and_the_audit_row_leaves_both_as_they_were(
    database_url: str, engine: Engine, effect: SqlEffect, kill_point: str
) -> None:
    effect.process([ADA])
    before = everything_stored(engine)
    command = [sys.executable, "-m", "tallystick.cli.main", "erase", "ada@example.org", "--database", database_url]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), ENV_KILL_AT: kill_point}
    killed = subprocess.run(
        [*command, "--execute", "--reason", "asked"], env=environment, capture_output=True, timeout=60, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert everything_stored(engine) == before
    forget_ada(engine)
    assert [len(outputs) for outputs in emitted(effect.process([ADA]))] == [0]


def test_the_key_is_in_no_file_of_sqlite_any_more(engine: Engine, effect: SqlEffect, tmp_path: Path) -> None:
    if engine.dialect.name != "sqlite":
        return  # PostgreSQL's log and dead rows are its own; VACUUM is all that we can ask for
    effect.process([ADA, BOB])
    with engine.begin() as connection:
        digest = SubjectKeys().digest(connection, "ada@example.org")
        query = select(subject_key.c.data_key).where(subject_key.c.subject_digest == digest)
        secret = connection.execute(query).scalar_one()
    assert any(secret in file.read_bytes() for file in tmp_path.iterdir())
    forget_ada(engine)
    assert not any(secret in file.read_bytes() for file in tmp_path.iterdir())


def test_who_erases_waits_for_who_seals(engine: Engine) -> None:
    locking = select(subject_key.c.key_id)
    with engine.begin() as sealing:
        SubjectKeys().of(sealing, ["ada@example.org"], now_ms=NOW_MS)
    with engine.begin() as sealing:
        SubjectKeys().of(sealing, ["ada@example.org"], now_ms=NOW_MS)
        if engine.dialect.name == "sqlite":
            return  # nobody else writes meanwhile
        with engine.connect() as other, pytest.raises(OperationalError) as refused:
            other.execute(locking.with_for_update(nowait=True))
        assert isinstance(refused.value.orig, psycopg.errors.LockNotAvailable)
