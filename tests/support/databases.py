"""A fresh, empty database for one test, on SQLite or on a PostgreSQL that the session shares."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql
from tests.support.brokers import unique_name

from tallystick.servers import PostgreSQL


def sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'tallystick.sqlite'}"


@contextmanager
def fresh_postgres_database(server: PostgreSQL) -> Iterator[str]:
    """The URL of a new database, which is dropped afterwards, together with forgotten connections."""
    name = unique_name("test").replace("-", "_")
    with psycopg.connect(server.url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield server.url_of(name)
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
