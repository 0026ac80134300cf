"""From each version of the boundary's tables to the next, with Alembic's operations.

Owns: the steps, written out: they never look at ``schema``, which describes the newest version only. Must not know:
who calls them. A test holds a database that was brought here step by step against one that was made at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection


def _inbox_horizons(op: Operations) -> None:
    """Version 2: the inbox may forget, and says how far."""
    op.create_table(
        "tallystick_inbox_horizon",
        sa.Column("scope", sa.String(200), nullable=False),
        sa.Column("topic", sa.String(249), nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("horizon", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("scope", "topic", "partition", name="tallystick_inbox_horizon_pk"),
    )
    if op.get_context().dialect.name == "postgresql":
        op.create_index("tallystick_inbox_age", "tallystick_inbox", ["created_at_ms"], postgresql_using="brin")


MIGRATIONS: Final[Mapping[int, Callable[[Operations], None]]] = MappingProxyType({2: _inbox_horizons})
"""By the version that each step arrives at."""


def migrate(connection: Connection, *, found: int, wanted: int) -> None:
    """Every step from ``found`` to ``wanted``, in the caller's transaction."""
    operations = Operations(MigrationContext.configure(connection))
    for version in range(found + 1, wanted + 1):
        MIGRATIONS[version](operations)
