"""``inbox.once`` alone, in a program that has its own connection."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from tallystick.boundary import BodyConflict, inbox
from tallystick.errors import ConfigurationError


def test_true_once_then_false(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "own.sqlite")) as connection:
        with connection:
            inbox.create_inbox(connection)
        with connection:
            assert inbox.once(connection, "e-1", b"body")
            assert not inbox.once(connection, "e-1", b"body")
            assert inbox.once(connection, "e-1", b"body", scope="other")


def test_a_rollback_takes_the_claim_back(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "own.sqlite")) as connection:
        with connection:
            inbox.create_inbox(connection)
        assert inbox.once(connection, "e-1")
        connection.rollback()
        assert inbox.once(connection, "e-1")


def test_another_body_is_an_error_and_no_duplicate(engine: Engine) -> None:
    with engine.begin() as connection:
        assert inbox.once(connection, "e-1", b"ten")
        with pytest.raises(BodyConflict, match="e-1"):
            inbox.once(connection, "e-1", b"eleven")


def test_the_small_table_is_the_same_table(engine: Engine, tmp_path: Path) -> None:
    query = "SELECT name, type, \"notnull\", pk FROM pragma_table_info('tallystick_inbox')"
    with closing(sqlite3.connect(tmp_path / "own.sqlite")) as connection:
        inbox.create_inbox(connection)
        alone = connection.execute(query).fetchall()
    with engine.begin() as connection:
        full = [tuple(row) for row in connection.execute(text(query))]
    assert alone == full


def test_an_unknown_connection_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="sqlite3, psycopg, SQLAlchemy or Django"):
        inbox.once(object(), "e-1")


def test_a_connection_that_commits_each_statement_is_refused(engine: Engine, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "own.sqlite", isolation_level=None)) as connection:
        inbox.create_inbox(connection)
        with pytest.raises(ConfigurationError, match="BEGIN IMMEDIATE"):
            inbox.once(connection, "e-1")
        connection.execute("BEGIN IMMEDIATE")
        assert inbox.once(connection, "e-1")
        connection.execute("COMMIT")
    with (
        engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        pytest.raises(ConfigurationError, match="AUTOCOMMIT"),
    ):
        inbox.once(connection, "e-1")


def test_the_inbox_needs_neither_sqlalchemy_nor_httpx() -> None:
    program = "import sys; from tallystick.boundary import inbox; assert not {'sqlalchemy', 'httpx'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
