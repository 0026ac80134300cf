"""Engines have the settings that the boundary relies on, and the tables carry a version."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from tallystick.boundary import create_tables, open_database, reading
from tallystick.errors import ConfigurationError


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_sqlite_in_memory_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="memory"):
        open_database(url)


@pytest.mark.parametrize("url", ["mysql://host/db", "nonsense"])
def test_another_database_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="sqlite:///"):
        open_database(url)


def test_postgresql_is_spoken_through_psycopg() -> None:
    engine = open_database("postgresql://user@localhost/db")
    assert (engine.dialect.name, engine.dialect.driver) == ("postgresql", "psycopg")


@pytest.mark.parametrize(("synchronous", "number"), [("NORMAL", 1), ("FULL", 2)])
def test_sqlite_settings(tmp_path: Path, synchronous: str, number: int) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'x.sqlite'}", synchronous=synchronous)  # type: ignore[arg-type]
    with engine.begin() as connection:
        found = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
        ]
    engine.dispose()
    assert found == ["wal", number, 30_000, 1]


def test_a_writer_waits_for_the_other_and_a_reader_does_not(engine: Engine) -> None:
    done = threading.Event()

    def write() -> None:
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO tallystick_owner_epoch VALUES ('b', 1)"))
        done.set()

    with engine.begin() as connection:
        connection.execute(text("INSERT INTO tallystick_owner_epoch VALUES ('a', 1)"))
        other = threading.Thread(target=write)
        other.start()
        with reading(engine) as reader:
            assert reader.execute(text("SELECT count(*) FROM tallystick_owner_epoch")).scalar_one() == 0
        assert not done.is_set()
    other.join()
    with reading(engine) as reader:
        assert reader.execute(text("SELECT count(*) FROM tallystick_owner_epoch")).scalar_one() == 2


def test_tables_of_another_version_are_refused(engine: Engine) -> None:
    create_tables(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE tallystick_schema_version SET version = 99"))
    with pytest.raises(ConfigurationError, match="version 99"):
        create_tables(engine)


def test_whoever_only_looks_makes_no_database(tmp_path: Path) -> None:
    path = tmp_path / "mistyped" / "x.sqlite"
    with pytest.raises(ConfigurationError, match=r"no database file .*x\.sqlite"):
        open_database(f"sqlite:///{path}", must_exist=True)
    assert not path.parent.exists()
