"""``kill -9`` at every kill point of the boundary, on each database: nothing is lost and nothing happens twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from tests.support.boundary import create_intents
from tests.support.boundary_programs import post
from tests.support.clients import eventually

from tallystick.boundary import EffectDispatcher, EffectLedger, State, StripeLike, create_tables, open_database
from tallystick.killpoints import ENV_KILL_AT, ENV_KILL_LOG
from tallystick.sandbox import InProcessSandbox, SandboxProcess
from tallystick.servers import PostgreSQL

pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).parents[2]
PATHS = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
RECORDS = 20
INTENTS = 24
FAULTS = {"timeout_after_commit": 0.1, "error_500_not_stored": 0.1, "rate_limit_429": 0.1}


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    opened = open_database(database_url)
    create_tables(opened)
    with opened.begin() as connection:
        connection.execute(text("CREATE TABLE booking (record_offset INTEGER)"))
        connection.execute(text("CREATE TABLE posting (intent_id VARCHAR(36), amount_minor INTEGER)"))
    yield opened
    opened.dispose()


def program(*arguments: str, kill_at: str | None = None, kill_log: Path | None = None) -> int:
    environment = {name: value for name, value in os.environ.items() if name not in (ENV_KILL_AT, ENV_KILL_LOG)}
    environment["PYTHONPATH"] = PATHS
    if kill_at is not None:
        environment |= {ENV_KILL_AT: kill_at, ENV_KILL_LOG: str(kill_log)}
    command = [sys.executable, "-m", "tests.support.boundary_programs", *arguments]
    return subprocess.run(command, env=environment, cwd=ROOT, timeout=120, check=False).returncode


def killed(kill_log: Path) -> list[str]:
    return [json.loads(line)["kill_point"] for line in kill_log.read_text().splitlines()]


@pytest.mark.parametrize(
    ("kill_point", "replayed"),
    [("inbox.after-insert", 0), ("inbox.before-sql-commit", 0), ("inbox.after-sql-commit", 5)],
)
def test_a_killed_consumer_books_each_event_once(
    database_url: str, engine: Engine, tmp_path: Path, kill_point: str, replayed: int
) -> None:
    log, kill_log = tmp_path / "log", tmp_path / "kills"
    arguments = ("inbox", database_url, str(log), str(RECORDS))
    assert program(*arguments, kill_at=f"{kill_point}:2", kill_log=kill_log) == -signal.SIGKILL
    assert killed(kill_log) == [kill_point]
    assert len(log.read_text().splitlines()) == 1, "the kill hit the second batch"
    assert program(*arguments) == 0
    with engine.begin() as connection:
        booked = list(connection.execute(text("SELECT record_offset FROM booking ORDER BY 1")).scalars())
        met_again = connection.execute(text("SELECT sum(replays) FROM tallystick_inbox_position")).scalar_one()
    emitted = [value for line in log.read_text().splitlines() for value in json.loads(line)["outputs"]]
    assert booked == list(range(RECORDS))
    assert emitted == [str(number) for number in range(RECORDS)]
    assert met_again == replayed


@pytest.mark.parametrize(
    ("kill_point", "left_in"),
    [
        ("effect.after-claim:1", State.CLAIMED),
        ("effect.after-sent-row:1", State.SENT),
        ("effect.after-response:3", State.SENT),
        ("effect.before-outcome-commit:2", State.SENT),
        ("effect.after-outcome-commit:2", State.SUCCEEDED),
    ],
)
def test_a_killed_dispatcher_charges_each_intent_once(
    database_url: str, engine: Engine, tmp_path: Path, kill_point: str, left_in: State
) -> None:
    kill_log = tmp_path / "kills"
    ledger = EffectLedger(engine)
    ids = create_intents(engine, ledger, INTENTS)
    with SandboxProcess(tmp_path / "sandbox", seed=7, faults=FAULTS) as sandbox:
        arguments = ("effects", database_url, sandbox.url)
        assert program(*arguments, kill_at=kill_point, kill_log=kill_log) == -signal.SIGKILL
        assert killed(kill_log) == [kill_point.partition(":")[0]]
        counts = ledger.count_by_state()
        assert counts[left_in] > 0
        assert sum(counts.values()) - counts[State.SUCCEEDED] > 0, "there was work left to do twice"
        assert program(*arguments) == 0
        truth = sandbox.truth()

    charged = sorted((charge["reference"], charge["amount"]) for charge in truth["charges"])
    assert charged == sorted((intent_id, 100 + number) for number, intent_id in enumerate(ids))
    with engine.begin() as connection:
        posted = sorted(tuple(row) for row in connection.execute(text("SELECT * FROM posting")))
        outbox = connection.execute(text("SELECT count(*) FROM tallystick_outbox")).scalar_one()
    assert posted == charged
    assert outbox == INTENTS
    settled = {(attempt.provider_object_id, attempt.captured_minor) for attempt in ledger.attempts()}
    assert settled == {(charge["id"], charge["amount"]) for charge in truth["charges"]}
    assert ledger.count_by_state()[State.SUCCEEDED] == INTENTS


@pytest.mark.postgres
def test_a_database_that_is_killed_twice_has_charged_and_booked_each_intent_once() -> None:
    with (
        PostgreSQL(settings={"fsync": "off"}) as server,
        InProcessSandbox(faults={"slow": 1.0, "slow_ms": 150, "timeout_after_commit": 0.0}) as sandbox,
    ):
        opened = open_database(server.url)
        create_tables(opened)
        with opened.begin() as connection:
            connection.execute(text("CREATE TABLE posting (intent_id VARCHAR(36), amount_minor INTEGER)"))
        ledger = EffectLedger(opened)
        ids = create_intents(opened, ledger, INTENTS)
        provider = partial(StripeLike, sandbox.url, timeout_ms=5_000)
        dispatcher = EffectDispatcher(ledger, provider, post, concurrency=3, lease_ms=10_000, retry_ms=50)
        charging = threading.Thread(target=dispatcher.run_until_idle)
        charging.start()
        for after in (INTENTS // 4, INTENTS // 2):
            eventually(lambda after=after: len(sandbox.truth()["charges"]) >= after)  # type: ignore[misc]
            server.kill()
            server.start()
        charging.join()
        truth = sandbox.truth()
        with opened.begin() as connection:
            posted = sorted(tuple(row) for row in connection.execute(text("SELECT * FROM posting")))
        settled = ledger.count_by_state()[State.SUCCEEDED]
        opened.dispose()
    charged = sorted((charge["reference"], charge["amount"]) for charge in truth["charges"])
    assert charged == sorted((intent_id, 100 + number) for number, intent_id in enumerate(ids))
    assert posted == charged
    assert settled == INTENTS


def test_a_killed_provider_still_has_charged_each_intent_once(
    database_url: str, engine: Engine, tmp_path: Path
) -> None:
    ledger = EffectLedger(engine)
    ids = create_intents(engine, ledger, INTENTS)
    with SandboxProcess(tmp_path / "sandbox", seed=7, faults={"slow": 1.0, "slow_ms": 300}) as sandbox:
        arguments = [sys.executable, "-m", "tests.support.boundary_programs", "effects", database_url, sandbox.url]
        with subprocess.Popen(arguments, env={**os.environ, "PYTHONPATH": PATHS}, cwd=ROOT) as running:
            while not sandbox.truth()["charges"]:
                assert running.poll() is None
            sandbox.kill()
            sandbox.restart()
            assert running.wait(120) == 0
        truth = sandbox.truth()
    assert sorted(charge["reference"] for charge in truth["charges"]) == sorted(ids)
    assert ledger.count_by_state()[State.SUCCEEDED] == INTENTS
