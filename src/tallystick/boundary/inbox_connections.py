"""One way to run a statement on the connections that programs have: sqlite3, psycopg, SQLAlchemy, Django.

Owns: telling them apart without importing any of them, their parameter marks, and whether a transaction is open that
the caller will end. Must not know: the statements. These are written with ``%s``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tallystick.errors import ConfigurationError

Rows = list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Opened:
    """``blob`` is how the database calls bytes."""

    run: Callable[[str, tuple[object, ...]], Rows]
    blob: str


def opened(connection: Any, *, in_transaction: bool) -> Opened:
    """The connection, known by its library. ``in_transaction``: refuse one that commits each statement by itself."""
    module = type(connection).__module__
    if module.startswith("sqlalchemy.orm"):  # a Session: its connection is in the session's transaction
        return opened(connection.connection(), in_transaction=in_transaction)
    if module.startswith("sqlalchemy"):
        return _sqlalchemy(connection, in_transaction)
    if module.startswith("django"):
        return _django(connection, in_transaction)
    if module.startswith("psycopg"):
        if in_transaction and connection.autocommit and connection.info.transaction_status.name != "INTRANS":
            raise _no_transaction("Use 'with connection.transaction():', or a connection without autocommit")
        return Opened(lambda statement, parameters: _rows(connection.execute(statement, parameters)), "BYTEA")
    if module.startswith("sqlite3"):
        if in_transaction and connection.isolation_level is None and not connection.in_transaction:
            raise _no_transaction("Execute BEGIN IMMEDIATE first")
        return Opened(
            lambda statement, parameters: _rows(connection.execute(statement.replace("%s", "?"), parameters)), "BLOB"
        )
    raise ConfigurationError(
        f"a connection of {module} is not known to the inbox",
        remedy="Pass one of sqlite3, psycopg, SQLAlchemy or Django",
    )


def _sqlalchemy(connection: Any, in_transaction: bool) -> Opened:
    if in_transaction and connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
        raise _no_transaction("Use 'with engine.begin() as connection:' without AUTOCOMMIT")
    postgresql = connection.dialect.name == "postgresql"

    def run(statement: str, parameters: tuple[object, ...]) -> Rows:
        result = connection.exec_driver_sql(statement if postgresql else statement.replace("%s", "?"), parameters)
        return [tuple(row) for row in result] if result.returns_rows else []

    return Opened(run, "BYTEA" if postgresql else "BLOB")


def _django(connection: Any, in_transaction: bool) -> Opened:
    if in_transaction and not connection.in_atomic_block:
        raise _no_transaction("Use 'with transaction.atomic():'")

    def run(statement: str, parameters: tuple[object, ...]) -> Rows:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return _rows(cursor)

    return Opened(run, "BYTEA" if connection.vendor == "postgresql" else "BLOB")


def _rows(cursor: Any) -> Rows:
    return [tuple(row) for row in cursor.fetchall()] if cursor.description else []


def _no_transaction(remedy: str) -> ConfigurationError:
    return ConfigurationError(
        "the connection commits each statement by itself: the event would count as processed before it is",
        rule=25,
        remedy=remedy,
    )
