"""The tables of erasure: a data key for each subject, and what was erased.

Owns: names, columns and constraints; all of them frozen formats, changing one is a data migration. Must not know: what
is sealed. A subject has one live key at a time, by the partial unique index. The name of a subject is in neither.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, String, Table

from tallystick.boundary.table_set import Sequence, metadata

subject_key = Table(
    "tallystick_subject_key",
    metadata,
    Column("key_id", Sequence, primary_key=True, autoincrement=True),
    Column("subject_digest", String(64), nullable=False, comment="HMAC of the subject's name"),
    Column("data_key", LargeBinary, nullable=True, comment="NULL once it is destroyed"),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("destroyed_at_ms", BigInteger, nullable=True),
)
Index(
    "tallystick_subject_key_live",
    subject_key.c.subject_digest,
    unique=True,
    sqlite_where=subject_key.c.data_key.is_not(None),
    postgresql_where=subject_key.c.data_key.is_not(None),
)

erasure = Table(
    "tallystick_erasure",
    metadata,
    Column("erasure", Sequence, primary_key=True, autoincrement=True),
    Column("subject_digest", String(64), nullable=False),
    Column("keys_destroyed", Integer, nullable=False),
    Column("sealed_rows", BigInteger, nullable=False, comment="that nobody can read from then on"),
    Column("erased_by", String(200), nullable=False),
    Column("reason", String(2000), nullable=False),
    Column("erased_at_ms", BigInteger, nullable=False),
)
