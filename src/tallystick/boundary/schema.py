"""The tables of the boundary, as SQLAlchemy Core metadata.

Owns: names, columns, constraints and the schema's version; all of them frozen formats, changing one is a data
migration. Must not know: who writes the rows. The constraints carry the guarantees: the unique keys make an insert
the only question ever asked (rule 25). The tables of effects and webhooks stand in ``effect_tables``.
"""

from __future__ import annotations

import secrets
from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from tallystick.boundary.effect_tables import (
    effect_attempt,
    effect_intent,
    effect_ruling,
    effect_suspense,
    webhook_in,
)
from tallystick.boundary.erasure_tables import erasure, subject_key
from tallystick.boundary.migrations import migrate
from tallystick.boundary.table_set import Sequence, metadata
from tallystick.errors import ConfigurationError

SCHEMA_VERSION: Final = 4
COMPONENT: Final = "boundary"

__all__ = [
    "COMPONENT",
    "PROVIDER_KEY_SECRET",
    "SCHEMA_VERSION",
    "SUBJECT_SECRET",
    "create_tables",
    "effect_attempt",
    "effect_intent",
    "effect_ruling",
    "effect_suspense",
    "erasure",
    "inbox",
    "inbox_conflict",
    "inbox_horizon",
    "metadata",
    "outbox",
    "owner_epoch",
    "schema_version",
    "secret",
    "subject_key",
    "webhook_in",
]

schema_version = Table(
    "tallystick_schema_version",
    metadata,
    Column("component", String(40), primary_key=True),
    Column("version", Integer, nullable=False),
)

inbox = Table(
    "tallystick_inbox",
    metadata,
    Column("scope", String(200), nullable=False),
    Column("event_id", String(36), nullable=False),
    Column("body_hash", String(64), nullable=False),
    Column("outputs", LargeBinary, nullable=True, comment="boundary.stored_outputs; NULL means none"),
    Column("topic", String(249), nullable=True),
    Column("partition", Integer, nullable=True),
    Column("record_offset", BigInteger, nullable=True),
    Column("created_at_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("scope", "event_id", name="tallystick_inbox_pk"),
)

# Rows come in order of time, so that a block range index says enough and costs next to nothing. SQLite has none, and
# reads from its oldest row.
Index("tallystick_inbox_age", inbox.c.created_at_ms, postgresql_using="brin").ddl_if(dialect="postgresql")

inbox_position = Table(
    "tallystick_inbox_position",
    metadata,
    Column("scope", String(200), nullable=False),
    Column("topic", String(249), nullable=False),
    Column("partition", Integer, nullable=False),
    Column("next_offset", BigInteger, nullable=False, comment="one more than the highest that was processed"),
    Column("replays", BigInteger, nullable=False, server_default="0", comment="events met again at their position"),
    Column("duplicates", BigInteger, nullable=False, server_default="0", comment="events met at another position"),
    Column("conflicts", BigInteger, nullable=False, server_default="0", comment="known ids with another body"),
    Column("updated_at_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("scope", "topic", "partition", name="tallystick_inbox_position_pk"),
)

origin = Table(
    "tallystick_origin",
    metadata,
    Column("topic", String(249), primary_key=True),
    Column("cluster_id", String(100), nullable=False),
    Column("topic_id", String(36), nullable=False),
    comment="the topics that offsets in the inbox are of, by ids; kept by the doctor",
)

inbox_horizon = Table(
    "tallystick_inbox_horizon",
    metadata,
    Column("scope", String(200), nullable=False),
    Column("topic", String(249), nullable=False),
    Column("partition", Integer, nullable=False),
    Column("horizon", BigInteger, nullable=False, comment="first offset that is remembered; or a time, see horizons"),
    PrimaryKeyConstraint("scope", "topic", "partition", name="tallystick_inbox_horizon_pk"),
)

inbox_conflict = Table(
    "tallystick_inbox_conflict",
    metadata,
    Column("scope", String(200), nullable=False),
    Column("event_id", String(36), nullable=False),
    Column("body_hash", String(64), nullable=False, comment="of the refused body"),
    Column("first_body_hash", String(64), nullable=False, comment="of the body that was processed"),
    Column("body", LargeBinary, nullable=True),
    Column("topic", String(249), nullable=True),
    Column("partition", Integer, nullable=True),
    Column("record_offset", BigInteger, nullable=True),
    Column("times_seen", Integer, nullable=False),
    Column("first_seen_at_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("scope", "event_id", "body_hash", name="tallystick_inbox_conflict_pk"),
)

outbox = Table(
    "tallystick_outbox",
    metadata,
    Column("sequence", Sequence, primary_key=True, autoincrement=True),
    Column("event_id", String(36), nullable=False, unique=True),
    Column("topic", String(249), nullable=False),
    Column("record_key", LargeBinary, nullable=True),
    Column("record_value", LargeBinary, nullable=True),
    Column("headers", LargeBinary, nullable=True, comment="boundary.stored_outputs; NULL means none"),
    Column("partition", Integer, nullable=True),
    Column("timestamp_ms", BigInteger, nullable=True),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("published_at_ms", BigInteger, nullable=True),
    Column("batch", BigInteger, nullable=True, comment="the relay's transaction that it goes with, or went with"),
)
Index(
    "tallystick_outbox_unpublished",
    outbox.c.sequence,
    sqlite_where=outbox.c.published_at_ms.is_(None),
    postgresql_where=outbox.c.published_at_ms.is_(None),
)

outbox_relay = Table(
    "tallystick_outbox_relay",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("owner", String(100), nullable=False),
    Column("fencing_token", BigInteger, nullable=False),
    Column("lease_until_ms", BigInteger, nullable=False),
    Column("incarnation", String(32), nullable=False, comment="random: tells this outbox from all others"),
    Column("batch", BigInteger, nullable=False, server_default="0", comment="the last that was begun"),
    Column("batch_note", String(32), nullable=False, server_default="", comment="random: stands in its transaction"),
)

owner_epoch = Table(
    "tallystick_owner_epoch",
    metadata,
    Column("owner_key", String(300), primary_key=True),
    Column("epoch", BigInteger, nullable=False),
)

secret = Table(
    "tallystick_secret",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
PROVIDER_KEY_SECRET: Final = "provider-key"  # noqa: S105  the secret's name, not the secret
SUBJECT_SECRET: Final = "subject"  # noqa: S105  the secret's name, not the secret


def create_tables(engine: Engine) -> None:
    """Create what is missing, bring older tables up to date; several processes may call it at once.

    Raises ``ConfigurationError`` if a newer program wrote these tables.
    """
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            # CREATE TABLE IF NOT EXISTS is no lock: two processes at once collide in the catalogue.
            connection.execute(text("SELECT pg_advisory_xact_lock(7265736977)"))
        found = _version(connection)
        if found is None:
            metadata.create_all(connection)
            connection.execute(schema_version.insert().values(component=COMPONENT, version=SCHEMA_VERSION))
        elif found > SCHEMA_VERSION:
            raise ConfigurationError(
                f"the database's tallystick_* tables have version {found}, "
                f"this program knows them up to version {SCHEMA_VERSION}",
                remedy="Use the program that wrote them, or a newer one",
            )
        elif found < SCHEMA_VERSION:
            migrate(connection, found=found, wanted=SCHEMA_VERSION)
            connection.execute(
                update(schema_version).where(schema_version.c.component == COMPONENT).values(version=SCHEMA_VERSION)
            )
        insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        for name in (PROVIDER_KEY_SECRET, SUBJECT_SECRET):
            value = secrets.token_bytes(32)
            connection.execute(insert(secret).values(name=name, value=value).on_conflict_do_nothing())


def _version(connection: Connection) -> int | None:
    if not inspect(connection).has_table(schema_version.name):
        return None
    return connection.execute(
        select(schema_version.c.version).where(schema_version.c.component == COMPONENT)
    ).scalar_one_or_none()
