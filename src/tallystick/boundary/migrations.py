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


def _version_3(op: Operations) -> None:
    _effects_and_webhooks(op)


def _effects_and_webhooks(op: Operations) -> None:
    """Version 3: effects of any operation, actions that a customer owes, rulings, and webhooks that came in."""
    for table in ("tallystick_effect_intent", "tallystick_effect_attempt"):
        op.add_column(table, sa.Column("operation", sa.String(40), nullable=False, server_default="charge"))
    op.add_column("tallystick_effect_attempt", sa.Column("action_deadline_ms", sa.BigInteger, nullable=True))
    for column in (
        sa.Column("kind", sa.String(20), nullable=False, server_default="DUPLICATE"),
        sa.Column("proposed_refund_minor", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("closed_at_ms", sa.BigInteger, nullable=True),
        sa.Column("closed_by", sa.String(200), nullable=True),
        sa.Column("closed_reason", sa.String(2000), nullable=True),
    ):
        op.add_column("tallystick_effect_suspense", column)
    op.execute("UPDATE tallystick_effect_suspense SET proposed_refund_minor = amount_minor")
    op.create_table(
        "tallystick_effect_ruling",
        sa.Column("ruling", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("attempt_id", sa.String(36), sa.ForeignKey("tallystick_effect_attempt.attempt_id"), nullable=False),
        sa.Column("from_state", sa.String(16), nullable=False),
        sa.Column("to_state", sa.String(16), nullable=False),
        sa.Column("provider_object_id", sa.String(200), nullable=True),
        sa.Column("ruled_by", sa.String(200), nullable=False),
        sa.Column("reason", sa.String(2000), nullable=False),
        sa.Column("ruled_at_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "tallystick_webhook_in",
        sa.Column("provider", sa.String(40), nullable=False),
        sa.Column("event_id", sa.String(200), nullable=False),
        sa.Column("event_type", sa.String(100), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("body_hash", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("result", sa.String(40), nullable=True),
        sa.Column("deliveries", sa.Integer, nullable=False, server_default="1"),
        sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
        sa.Column("not_before_ms", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("last_error", sa.String(500), nullable=True),
        sa.Column("received_at_ms", sa.BigInteger, nullable=False),
        sa.Column("done_at_ms", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("provider", "event_id", name="tallystick_webhook_in_pk"),
        sa.CheckConstraint("state IN ('RECEIVED', 'DONE')", name="tallystick_webhook_in_state"),
    )
    where = sa.text("state = 'RECEIVED'")
    op.create_index(
        "tallystick_webhook_in_due",
        "tallystick_webhook_in",
        ["not_before_ms"],
        sqlite_where=where,
        postgresql_where=where,
    )
    _inbox_positions(op)
    _outbox_batches(op)


def _inbox_positions(op: Operations) -> None:
    """Counts by partition instead of by event: a replay writes one row, not one for each event."""
    op.create_table(
        "tallystick_inbox_position",
        sa.Column("scope", sa.String(200), nullable=False),
        sa.Column("topic", sa.String(249), nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("next_offset", sa.BigInteger, nullable=False),
        sa.Column("replays", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("duplicates", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("conflicts", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("updated_at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("scope", "topic", "partition", name="tallystick_inbox_position_pk"),
    )
    op.create_table(
        "tallystick_origin",
        sa.Column("topic", sa.String(249), primary_key=True),
        sa.Column("cluster_id", sa.String(100), nullable=False),
        sa.Column("topic_id", sa.String(36), nullable=False),
        comment="the topics that offsets in the inbox are of, by ids; kept by the doctor",
    )
    op.execute(
        "INSERT INTO tallystick_inbox_position "
        "(scope, topic, partition, next_offset, replays, duplicates, updated_at_ms) "
        "SELECT scope, topic, partition, max(record_offset) + 1, sum(replays), sum(duplicates), max(created_at_ms) "
        "FROM tallystick_inbox WHERE topic IS NOT NULL GROUP BY scope, topic, partition"
    )
    op.drop_column("tallystick_inbox", "replays")
    op.drop_column("tallystick_inbox", "duplicates")


def _outbox_batches(op: Operations) -> None:
    """Which rows left in which Kafka transaction, and whose turn it is to publish."""
    op.add_column("tallystick_outbox", sa.Column("batch", sa.BigInteger, nullable=True))
    op.create_table(
        "tallystick_outbox_relay",
        sa.Column("name", sa.String(100), primary_key=True),
        sa.Column("owner", sa.String(100), nullable=False),
        sa.Column("fencing_token", sa.BigInteger, nullable=False),
        sa.Column("lease_until_ms", sa.BigInteger, nullable=False),
        sa.Column("incarnation", sa.String(32), nullable=False),
        sa.Column("batch", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("batch_note", sa.String(32), nullable=False, server_default=""),
    )


def _erasure(op: Operations) -> None:
    """Version 4: keys of subjects, and what was erased."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "tallystick_subject_key",
        sa.Column("key_id", number, primary_key=True, autoincrement=True),
        sa.Column("subject_digest", sa.String(64), nullable=False),
        sa.Column("data_key", sa.LargeBinary, nullable=True),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("destroyed_at_ms", sa.BigInteger, nullable=True),
    )
    where = sa.text("data_key IS NOT NULL")
    op.create_index(
        "tallystick_subject_key_live",
        "tallystick_subject_key",
        ["subject_digest"],
        unique=True,
        sqlite_where=where,
        postgresql_where=where,
    )
    op.create_table(
        "tallystick_erasure",
        sa.Column("erasure", number, primary_key=True, autoincrement=True),
        sa.Column("subject_digest", sa.String(64), nullable=False),
        sa.Column("keys_destroyed", sa.Integer, nullable=False),
        sa.Column("sealed_rows", sa.BigInteger, nullable=False),
        sa.Column("erased_by", sa.String(200), nullable=False),
        sa.Column("reason", sa.String(2000), nullable=False),
        sa.Column("erased_at_ms", sa.BigInteger, nullable=False),
    )


MIGRATIONS: Final[Mapping[int, Callable[[Operations], None]]] = MappingProxyType(
    {2: _inbox_horizons, 3: _version_3, 4: _erasure}
)
"""By the version that each step arrives at."""


def migrate(connection: Connection, *, found: int, wanted: int) -> None:
    """Every step from ``found`` to ``wanted``, in the caller's transaction."""
    operations = Operations(MigrationContext.configure(connection))
    for version in range(found + 1, wanted + 1):
        MIGRATIONS[version](operations)
