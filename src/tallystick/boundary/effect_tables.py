"""The tables of effects over HTTP: intents, attempts, suspense, rulings, and the webhooks that came in.

Owns: names, columns and constraints; all of them frozen formats, changing one is a data migration. Must not know: who
writes the rows. The partial unique index allows one open attempt per intent (rule 33), the primary key of webhooks
makes a repeated delivery harmless (rule 35).
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
    text,
)

from tallystick.boundary.effects import OPEN_STATES, State
from tallystick.boundary.table_set import Sequence, metadata

effect_intent = Table(
    "tallystick_effect_intent",
    metadata,
    Column("intent_id", String(36), primary_key=True),
    Column("provider", String(40), nullable=False),
    Column("reference", String(200), nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("request_hash", String(64), nullable=False),
    Column("captured_minor", BigInteger, nullable=False, server_default="0"),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("operation", String(40), nullable=False, server_default="charge"),
    CheckConstraint("amount_minor > 0", name="tallystick_effect_intent_positive"),
    CheckConstraint("captured_minor >= 0 AND captured_minor <= amount_minor", name="tallystick_effect_captured"),
)

_STATES = ", ".join(f"'{state.value}'" for state in State)
_OPEN = ", ".join(f"'{state.value}'" for state in State if state in OPEN_STATES)

effect_attempt = Table(
    "tallystick_effect_attempt",
    metadata,
    Column("attempt_id", String(36), primary_key=True),
    Column("intent_id", String(36), ForeignKey("tallystick_effect_intent.intent_id"), nullable=False),
    Column("attempt_number", Integer, nullable=False),
    Column("provider", String(40), nullable=False),
    Column("reference", String(200), nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("provider_key", String(64), nullable=False),
    Column("request", LargeBinary, nullable=False),
    Column("request_hash", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("fencing_token", BigInteger, nullable=False, server_default="0"),
    Column("lease_owner", String(200), nullable=True),
    Column("lease_until_ms", BigInteger, nullable=False, server_default="0"),
    Column("not_before_ms", BigInteger, nullable=False, server_default="0"),
    Column("times_sent", Integer, nullable=False, server_default="0"),
    Column("first_sent_at_ms", BigInteger, nullable=True),
    Column("last_sent_at_ms", BigInteger, nullable=True),
    Column("window_ms", BigInteger, nullable=True),
    Column("resend_until_ms", BigInteger, nullable=True, comment="from here on: look up, never POST (rule 32)"),
    Column("provider_object_id", String(200), nullable=True),
    Column("captured_minor", BigInteger, nullable=True),
    Column("fee_minor", BigInteger, nullable=True),
    Column("outcome_code", String(100), nullable=True),
    Column("response_status", Integer, nullable=True),
    Column("response", LargeBinary, nullable=True),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("settled_at_ms", BigInteger, nullable=True),
    Column("operation", String(40), nullable=False, server_default="charge"),
    Column("action_deadline_ms", BigInteger, nullable=True, comment="set once the provider waits for the customer"),
    UniqueConstraint("intent_id", "attempt_number", name="tallystick_effect_attempt_number"),
    UniqueConstraint("provider", "provider_key", name="tallystick_effect_attempt_key"),
    UniqueConstraint("provider", "provider_object_id", name="tallystick_effect_attempt_object"),
    CheckConstraint(f"state IN ({_STATES})", name="tallystick_effect_attempt_state"),
    CheckConstraint(
        "state IN ('CREATED', 'CLAIMED') OR "
        "(first_sent_at_ms IS NOT NULL AND window_ms IS NOT NULL AND resend_until_ms IS NOT NULL)",
        name="tallystick_effect_attempt_sent",
    ),
    CheckConstraint(
        "state <> 'SUCCEEDED' OR (provider_object_id IS NOT NULL AND captured_minor IS NOT NULL)",
        name="tallystick_effect_attempt_succeeded",
    ),
    CheckConstraint(
        "captured_minor IS NULL OR (captured_minor >= 0 AND captured_minor <= amount_minor)",
        name="tallystick_effect_attempt_captured",
    ),
)
Index(
    "tallystick_effect_attempt_open",
    effect_attempt.c.intent_id,
    unique=True,
    sqlite_where=text(f"state IN ({_OPEN})"),
    postgresql_where=text(f"state IN ({_OPEN})"),
)
Index(
    "tallystick_effect_attempt_due",
    effect_attempt.c.provider,
    effect_attempt.c.state,
    effect_attempt.c.created_at_ms,
    sqlite_where=text(f"state IN ({_OPEN})"),
    postgresql_where=text(f"state IN ({_OPEN})"),
)

effect_suspense = Table(
    "tallystick_effect_suspense",
    metadata,
    Column("provider", String(40), nullable=False),
    Column("provider_object_id", String(200), nullable=False),
    Column("attempt_id", String(36), ForeignKey("tallystick_effect_attempt.attempt_id"), nullable=False),
    Column("state", String(16), nullable=False, comment="the attempt's state when the success arrived"),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("response", LargeBinary, nullable=True),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("kind", String(20), nullable=False, server_default="DUPLICATE", comment="the break that it opens"),
    Column("proposed_refund_minor", BigInteger, nullable=False, server_default="0"),
    Column("closed_at_ms", BigInteger, nullable=True),
    Column("closed_by", String(200), nullable=True),
    Column("closed_reason", String(2000), nullable=True),
    PrimaryKeyConstraint("provider", "provider_object_id", name="tallystick_effect_suspense_pk"),
)

effect_ruling = Table(
    "tallystick_effect_ruling",
    metadata,
    Column("ruling", Sequence, primary_key=True, autoincrement=True),
    Column("attempt_id", String(36), ForeignKey("tallystick_effect_attempt.attempt_id"), nullable=False),
    Column("from_state", String(16), nullable=False),
    Column("to_state", String(16), nullable=False),
    Column("provider_object_id", String(200), nullable=True),
    Column("ruled_by", String(200), nullable=False),
    Column("reason", String(2000), nullable=False),
    Column("ruled_at_ms", BigInteger, nullable=False),
)

webhook_in = Table(
    "tallystick_webhook_in",
    metadata,
    Column("provider", String(40), nullable=False),
    Column("event_id", String(200), nullable=False),
    Column("event_type", String(100), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("body_hash", String(64), nullable=False),
    Column("state", String(16), nullable=False, comment="RECEIVED until what it says is in the ledger, then DONE"),
    Column("result", String(40), nullable=True),
    Column("deliveries", Integer, nullable=False, server_default="1"),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("not_before_ms", BigInteger, nullable=False, server_default="0"),
    Column("last_error", String(500), nullable=True),
    Column("received_at_ms", BigInteger, nullable=False),
    Column("done_at_ms", BigInteger, nullable=True),
    PrimaryKeyConstraint("provider", "event_id", name="tallystick_webhook_in_pk"),
    CheckConstraint("state IN ('RECEIVED', 'DONE')", name="tallystick_webhook_in_state"),
)
Index(
    "tallystick_webhook_in_due",
    webhook_in.c.not_before_ms,
    sqlite_where=text("state = 'RECEIVED'"),
    postgresql_where=text("state = 'RECEIVED'"),
)
