"""The few statements whose spelling SQLAlchemy keeps per dialect.

Owns: insert-or-do-nothing and the counter increment. Must not know: which tables.
"""

from __future__ import annotations

from sqlalchemy import Connection, Engine, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert(connection: Connection | Engine, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that knows ``on_conflict_do_nothing`` on this connection's database."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)
