"""Insert first: whether an event was processed is asked by inserting its id, never by looking.

Owns: ``once``, for a program that has its own consumer loop and its own SQL connection. Must not know: Kafka. Needs no
SQLAlchemy: a plain ``sqlite3`` or psycopg connection does (its tables come from ``create_inbox``).

    with connection:                              # one SQL transaction for both
        if inbox.once(connection, event_id, body):
            connection.execute("UPDATE account ...")
"""

from __future__ import annotations

import time
from typing import Any, Final, Protocol

from tallystick.errors import ConfigurationError, TallystickError
from tallystick.ids import body_hash

DEFAULT_SCOPE: Final = "default"

_INSERT: Final = (
    "INSERT INTO tallystick_inbox (scope, event_id, body_hash, created_at_ms) VALUES ({0}, {0}, {0}, {0}) "
    "ON CONFLICT (scope, event_id) DO NOTHING RETURNING event_id"
)
_SELECT: Final = "SELECT body_hash FROM tallystick_inbox WHERE scope = {0} AND event_id = {0}"
_CREATE: Final = """CREATE TABLE IF NOT EXISTS tallystick_inbox (
    scope VARCHAR(200) NOT NULL,
    event_id VARCHAR(36) NOT NULL,
    body_hash VARCHAR(64) NOT NULL,
    outputs {blob},
    topic VARCHAR(249),
    partition INTEGER,
    record_offset BIGINT,
    created_at_ms BIGINT NOT NULL,
    CONSTRAINT tallystick_inbox_pk PRIMARY KEY (scope, event_id)
)"""


class BodyConflict(TallystickError):
    """The id was processed with another body (rule 27): one of the two events is wrong, never "a duplicate"."""

    def __init__(self, *, scope: str, event_id: str, first_body_hash: str, other_body_hash: str) -> None:
        self.scope = scope
        self.event_id = event_id
        self.first_body_hash = first_body_hash
        self.other_body_hash = other_body_hash
        super().__init__(
            f"event {event_id} in {scope!r} was processed with body {first_body_hash[:12]}..., "
            f"now it comes with body {other_body_hash[:12]}..."
        )


class _Run(Protocol):
    def __call__(self, statement: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]: ...


def once(connection: Any, event_id: str, body: bytes = b"", *, scope: str = DEFAULT_SCOPE) -> bool:
    """True exactly once for an event id in a scope, if the caller's transaction commits.

    ``connection``: ``sqlite3.Connection``, ``psycopg.Connection`` or ``sqlalchemy.Connection``, inside the transaction
    that also writes the business rows. On PostgreSQL the insert waits for another open transaction with the same id
    and then answers for certain, so repeating it is also how an ambiguous commit is settled (rule 28).

    Raises ``BodyConflict`` if the id is known with another body. Bodies are compared by ``ids.body_hash``.
    """
    run, placeholder = _runner(connection)
    digest = body_hash(body)
    inserted = run(_INSERT.format(placeholder), (scope, event_id, digest, time.time_ns() // 1_000_000))
    if inserted:
        return True
    found = run(_SELECT.format(placeholder), (scope, event_id))
    if found and found[0][0] != digest:
        raise BodyConflict(scope=scope, event_id=event_id, first_body_hash=found[0][0], other_body_hash=digest)
    return False


def create_inbox(connection: Any) -> None:
    """Create the inbox table if it is missing: the same table as ``create_tables`` makes, without the others."""
    run, placeholder = _runner(connection)
    run(_CREATE.format(blob="BLOB" if placeholder == "?" else "BYTEA"))


def _runner(connection: Any) -> tuple[_Run, str]:
    """How to run a statement on this connection, and its parameter mark."""
    module = type(connection).__module__
    if module.startswith("sqlalchemy"):
        placeholder = "%s" if connection.dialect.name == "postgresql" else "?"

        def run_driver(statement: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
            result = connection.exec_driver_sql(statement, parameters)
            return [tuple(row) for row in result] if result.returns_rows else []

        return run_driver, placeholder
    if module.startswith(("sqlite3", "psycopg")):

        def run_plain(statement: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
            cursor = connection.execute(statement, parameters)
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

        return run_plain, "?" if module.startswith("sqlite3") else "%s"
    raise ConfigurationError(
        f"a connection of {module} is not known to the inbox", remedy="Pass one of sqlite3, psycopg or SQLAlchemy"
    )
