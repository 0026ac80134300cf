"""``inbox.once`` in programs that have their own connections, of each library, on each database."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from tests.support.databases import fresh_postgres_database

from tallystick.boundary import inbox
from tallystick.errors import ConfigurationError
from tallystick.ids import deterministic_id
from tallystick.pipeline.records import Output

ROOT = Path(__file__).parents[2]


def test_in_a_session_of_sqlalchemy(engine: Engine) -> None:
    with Session(engine) as session, session.begin():
        assert inbox.once(session, "e-1", b"body")
    with Session(engine) as session:
        with session.begin():
            assert not inbox.once(session, "e-1", b"body")
        assert inbox.once(session, "e-2")
        session.rollback()
        assert inbox.once(session, "e-2")


def test_what_an_event_gave_is_kept_beside_it(engine: Engine) -> None:
    outputs = (Output("paid", b"k", b"1", deterministic_id("test.once", 1), (("h", b"x"),)),)
    with engine.begin() as connection:
        assert inbox.once(connection, "e-1")
        assert inbox.kept_outputs(connection, "e-1") == ()
        inbox.keep_outputs(connection, "e-1", outputs)
    with engine.begin() as connection:
        assert inbox.kept_outputs(connection, "e-1") == outputs
        with pytest.raises(KeyError):
            inbox.kept_outputs(connection, "e-2")


def test_in_a_transaction_of_django(engine: Engine, database_url: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    command = [sys.executable, "-m", "tests.support.django_once", database_url]
    done = subprocess.run(command, env=environment, cwd=ROOT, timeout=60, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[True, False, True, True, \"Use 'with transaction.atomic():'\"]\n"


@pytest.mark.postgres
class TestPsycopg:
    @pytest.fixture
    def url(self, postgres_server: Any) -> Iterator[str]:
        with fresh_postgres_database(postgres_server) as url:
            plain = url.replace("+psycopg", "")
            with psycopg.connect(plain) as connection:
                inbox.create_inbox(connection)
            yield plain

    def test_a_connection_that_commits_by_itself_is_refused_outside_a_transaction(self, url: str) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            with pytest.raises(ConfigurationError, match="commits each statement by itself"):
                inbox.once(connection, "e-1")
            with connection.transaction():
                assert inbox.once(connection, "e-1")

    def test_the_second_of_two_at_once_waits_for_the_first_and_is_no_first(self, url: str) -> None:
        answers: list[bool] = []

        def second() -> None:
            with psycopg.connect(url) as other:
                answers.append(inbox.once(other, "e-1", b"body"))

        with psycopg.connect(url) as connection:
            assert inbox.once(connection, "e-1", b"body")
            thread = threading.Thread(target=second)
            thread.start()
            while not _waits(url):
                assert thread.is_alive()
            assert answers == []
        thread.join()
        assert answers == [False]


def _waits(url: str) -> bool:
    with psycopg.connect(url) as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        row = connection.execute(query).fetchone()
        return row is not None and row[0] > 0
