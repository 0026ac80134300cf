"""Billing's tables and the triggers that keep what is issued as it was issued.

Owns: rated items, invoices with lines and allocations, payment intents, captures, external records. Must not know: who
writes them.

How an invoice becomes immutable without a draft state. Lines and allocations are written first, then the invoice: its
INSERT is refused unless count and sum of the lines equal its own figures and each line equals the sum of its
allocations. From then on, lines and allocations of it are refused. A line whose invoice never comes fails at commit
(deferred foreign key). On PostgreSQL, where another transaction may write a line while the invoice is issued, the same
check runs once more at commit. Nothing here can be updated or deleted.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Engine,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

from tallystick.ledger import tables as ledger_tables
from tallystick.ledger.tables import append_only, create_all, install

metadata: Final = MetaData()

rated_item: Final = Table(
    "rated_item",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("usage_event_id", String(36), nullable=False),
    Column("tenant", String(100), nullable=False),
    Column("source", String(200), nullable=False),
    Column("line_number", BigInteger, nullable=False),
    Column("account", String(100), nullable=False),
    Column("charge_id", String(50), nullable=False),
    Column("occurred_on", String(10), nullable=False),
    Column("period", String(7), nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    UniqueConstraint("usage_event_id", "charge_id", name="rated_item_once"),
)
Index("rated_item_account", rated_item.c.account, rated_item.c.period)

invoice: Final = Table(
    "invoice",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("issuer", String(50), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("account", String(100), nullable=False),
    Column("currency", String(3), nullable=False),
    Column("period", String(7), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("issued_on", String(10), nullable=False),
    Column("line_count", Integer, nullable=False),
    Column("lines_minor", BigInteger, nullable=False),
    Column("discount_minor", BigInteger, nullable=False),
    Column("tax_minor", BigInteger, nullable=False),
    Column("total_minor", BigInteger, nullable=False),
    UniqueConstraint("issuer", "number", name="invoice_number"),
    UniqueConstraint("account", "currency", "period", "kind", "ordinal", name="invoice_once"),
    CheckConstraint("total_minor = lines_minor - discount_minor + tax_minor", name="invoice_total"),
    CheckConstraint("number > 0 AND ordinal >= 0 AND line_count > 0", name="invoice_counts"),
)

invoice_line: Final = Table(
    "invoice_line",
    metadata,
    Column("id", String(36), primary_key=True),
    Column(
        "invoice_id",
        String(36),
        ForeignKey("invoice.id", deferrable=True, initially="DEFERRED"),
        nullable=False,
        index=True,
    ),
    Column("ordinal", Integer, nullable=False),
    Column("charge_id", String(50), nullable=False),
    Column("group_key", String(100), nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    UniqueConstraint("invoice_id", "ordinal", name="invoice_line_ordinal"),
    UniqueConstraint("invoice_id", "charge_id", "group_key", name="invoice_line_once"),
)

line_allocation: Final = Table(
    "line_allocation",
    metadata,
    Column("rated_item_id", String(36), ForeignKey("rated_item.id"), primary_key=True),
    Column("line_id", String(36), ForeignKey("invoice_line.id"), nullable=False, index=True),
    Column("amount_minor", BigInteger, nullable=False),
)

invoice_counter: Final = Table(
    "invoice_counter",
    metadata,
    Column("issuer", String(50), primary_key=True),
    Column("last_number", BigInteger, nullable=False),
)

payment_intent: Final = Table(
    "payment_intent",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("invoice_id", String(36), ForeignKey("invoice.id"), nullable=False),
    Column("purpose", String(20), nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    UniqueConstraint("invoice_id", "purpose", "ordinal", name="payment_intent_once"),
    CheckConstraint("amount_minor > 0", name="payment_intent_positive"),
)

payment_capture: Final = Table(
    "payment_capture",
    metadata,
    Column("intent_id", String(36), ForeignKey("payment_intent.id"), primary_key=True),
    Column("attempt_id", String(36), nullable=False),
    Column("provider", String(40), nullable=False),
    Column("provider_object_id", String(200), nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    UniqueConstraint("provider", "provider_object_id", name="payment_capture_object"),
    CheckConstraint("amount_minor > 0", name="payment_capture_positive"),
)

external_record: Final = Table(
    "external_record",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("provider", String(40), nullable=False),
    Column("statement_id", String(200), nullable=False),
    Column("line_number", BigInteger, nullable=False),
    Column("provider_reference", String(200), nullable=False),
    Column("type", String(40), nullable=False),
    Column("charge_reference", String(200), nullable=False),
    Column("intent_reference", String(200), nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("fee_minor", BigInteger, nullable=False),
    Column("net_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("body_hash", String(64), nullable=False),
    UniqueConstraint("provider", "provider_reference", name="external_record_once"),
)

_SQLITE: Final = (
    """
    CREATE TRIGGER IF NOT EXISTS invoice_before_insert BEFORE INSERT ON invoice BEGIN
      SELECT RAISE(ABORT, 'invoice is append-only') WHERE EXISTS (SELECT 1 FROM invoice WHERE id = NEW.id
        OR (issuer = NEW.issuer AND number = NEW.number) OR (account = NEW.account AND currency = NEW.currency
            AND period = NEW.period AND kind = NEW.kind AND ordinal = NEW.ordinal));
      SELECT RAISE(ABORT, 'invoice: its lines do not add up to it')
        WHERE NEW.line_count IS NOT (SELECT COUNT(*) FROM invoice_line WHERE invoice_id = NEW.id)
           OR NEW.lines_minor IS NOT (SELECT SUM(amount_minor) FROM invoice_line WHERE invoice_id = NEW.id);
      SELECT RAISE(ABORT, 'invoice: a line is not the sum of its allocations') FROM invoice_line AS l
        WHERE l.invoice_id = NEW.id AND l.amount_minor IS NOT
          (SELECT SUM(a.amount_minor) FROM line_allocation AS a WHERE a.line_id = l.id);
    END
    """,
    """
    CREATE TRIGGER IF NOT EXISTS invoice_line_before_insert BEFORE INSERT ON invoice_line BEGIN
      SELECT RAISE(ABORT, 'invoice_line: its invoice is issued')
        WHERE EXISTS (SELECT 1 FROM invoice WHERE id = NEW.invoice_id);
      SELECT RAISE(ABORT, 'invoice_line is append-only') WHERE EXISTS (SELECT 1 FROM invoice_line WHERE id = NEW.id
        OR (invoice_id = NEW.invoice_id AND (ordinal = NEW.ordinal
            OR (charge_id = NEW.charge_id AND group_key = NEW.group_key))));
    END
    """,
    """
    CREATE TRIGGER IF NOT EXISTS line_allocation_before_insert BEFORE INSERT ON line_allocation BEGIN
      SELECT RAISE(ABORT, 'line_allocation: its invoice is issued') WHERE EXISTS (
        SELECT 1 FROM invoice_line AS l JOIN invoice AS i ON i.id = l.invoice_id WHERE l.id = NEW.line_id);
      SELECT RAISE(ABORT, 'line_allocation: this rated item is allocated')
        WHERE EXISTS (SELECT 1 FROM line_allocation WHERE rated_item_id = NEW.rated_item_id);
      SELECT RAISE(ABORT, 'line_allocation: not the whole amount of its rated item') WHERE NOT EXISTS (
        SELECT 1 FROM rated_item WHERE id = NEW.rated_item_id AND amount_minor = NEW.amount_minor);
    END
    """,
    """
    CREATE TRIGGER IF NOT EXISTS payment_capture_before_insert BEFORE INSERT ON payment_capture BEGIN
      SELECT RAISE(ABORT, 'payment_capture: more than its intent, or in another currency') WHERE NOT EXISTS (
        SELECT 1 FROM payment_intent WHERE id = NEW.intent_id AND NEW.amount_minor <= amount_minor
          AND NEW.currency = currency);
    END
    """,
    # INSERT OR REPLACE deletes without a delete trigger: stop it before it looks for what to replace
    *(
        f"CREATE TRIGGER IF NOT EXISTS {table}_no_replace BEFORE INSERT ON {table} BEGIN "  # noqa: S608  names from below
        f"SELECT RAISE(ABORT, '{table} is append-only') WHERE EXISTS (SELECT 1 FROM {table} WHERE {same}); END"
        for table, same in (
            ("rated_item", "id = NEW.id OR (usage_event_id = NEW.usage_event_id AND charge_id = NEW.charge_id)"),
            (
                "payment_intent",
                "id = NEW.id OR (invoice_id = NEW.invoice_id AND purpose = NEW.purpose AND ordinal = NEW.ordinal)",
            ),
            (
                "payment_capture",
                (
                    "intent_id = NEW.intent_id "
                    "OR (provider = NEW.provider AND provider_object_id = NEW.provider_object_id)"
                ),
            ),
        )
    ),
    """
    CREATE TRIGGER IF NOT EXISTS external_record_before_insert BEFORE INSERT ON external_record BEGIN
      SELECT RAISE(ABORT, 'external_record: the provider said something else before') WHERE EXISTS (
        SELECT 1 FROM external_record WHERE (id = NEW.id OR (provider = NEW.provider
          AND provider_reference = NEW.provider_reference)) AND body_hash <> NEW.body_hash);
      SELECT RAISE(IGNORE) WHERE EXISTS (SELECT 1 FROM external_record WHERE id = NEW.id);
    END
    """,
)

_POSTGRESQL: Final = (
    """
    CREATE OR REPLACE FUNCTION invoice_adds_up(which text) RETURNS void LANGUAGE plpgsql AS $body$
    DECLARE issued invoice%ROWTYPE;
    BEGIN
      SELECT * INTO issued FROM invoice WHERE id = which;
      IF NOT FOUND THEN
        RAISE EXCEPTION 'invoice_line: its invoice % does not exist', which USING ERRCODE = 'check_violation';
      END IF;
      IF NOT EXISTS (SELECT 1 FROM invoice_line WHERE invoice_id = which
                     HAVING COUNT(*) = issued.line_count AND SUM(amount_minor) = issued.lines_minor) THEN
        RAISE EXCEPTION 'invoice: its lines do not add up to it' USING ERRCODE = 'check_violation';
      END IF;
      IF EXISTS (SELECT 1 FROM invoice_line AS l WHERE l.invoice_id = which AND l.amount_minor IS DISTINCT FROM
                 (SELECT SUM(a.amount_minor) FROM line_allocation AS a WHERE a.line_id = l.id)) THEN
        RAISE EXCEPTION 'invoice: a line is not the sum of its allocations' USING ERRCODE = 'check_violation';
      END IF;
    END $body$
    """,
    """
    CREATE OR REPLACE FUNCTION invoice_check() RETURNS trigger LANGUAGE plpgsql AS $body$
    BEGIN
      IF TG_TABLE_NAME = 'invoice' THEN
        PERFORM invoice_adds_up(NEW.id);
      ELSE
        PERFORM invoice_adds_up(NEW.invoice_id);
      END IF;
      RETURN NULL;
    END $body$
    """,
    """
    CREATE OR REPLACE FUNCTION invoice_line_check() RETURNS trigger LANGUAGE plpgsql AS $body$
    BEGIN
      IF EXISTS (SELECT 1 FROM invoice WHERE id = NEW.invoice_id) THEN
        RAISE EXCEPTION 'invoice_line: its invoice is issued' USING ERRCODE = 'check_violation';
      END IF;
      RETURN NEW;
    END $body$
    """,
    """
    CREATE OR REPLACE FUNCTION line_allocation_check() RETURNS trigger LANGUAGE plpgsql AS $body$
    BEGIN
      IF EXISTS (SELECT 1 FROM invoice_line AS l JOIN invoice AS i ON i.id = l.invoice_id WHERE l.id = NEW.line_id) THEN
        RAISE EXCEPTION 'line_allocation: its invoice is issued' USING ERRCODE = 'check_violation';
      END IF;
      IF NOT EXISTS (SELECT 1 FROM rated_item WHERE id = NEW.rated_item_id AND amount_minor = NEW.amount_minor) THEN
        RAISE EXCEPTION 'line_allocation: not the whole amount of its rated item' USING ERRCODE = 'check_violation';
      END IF;
      RETURN NEW;
    END $body$
    """,
    """
    CREATE OR REPLACE FUNCTION payment_capture_check() RETURNS trigger LANGUAGE plpgsql AS $body$
    BEGIN
      IF NOT EXISTS (SELECT 1 FROM payment_intent WHERE id = NEW.intent_id AND NEW.amount_minor <= amount_minor
                     AND NEW.currency = currency) THEN
        RAISE EXCEPTION 'payment_capture: more than its intent, or in another currency'
          USING ERRCODE = 'check_violation';
      END IF;
      RETURN NEW;
    END $body$
    """,
    *(
        f"CREATE OR REPLACE TRIGGER {table}_before_insert BEFORE INSERT ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION {table}_check()"
        for table in ("invoice_line", "line_allocation", "payment_capture")
    ),
    (
        "CREATE OR REPLACE TRIGGER invoice_after_insert AFTER INSERT ON invoice FOR EACH ROW "
        "EXECUTE FUNCTION invoice_check()"
    ),
    # At commit, against what other transactions committed meanwhile; a constraint trigger has no OR REPLACE. An
    # allocation needs no such check: its line, and so the line's invoice, is committed before another can name it.
    "DROP TRIGGER IF EXISTS invoice_line_at_commit ON invoice_line",
    (
        "CREATE CONSTRAINT TRIGGER invoice_line_at_commit AFTER INSERT ON invoice_line DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION invoice_check()"
    ),
)

_APPEND_ONLY: Final = (
    "rated_item",
    "invoice",
    "invoice_line",
    "line_allocation",
    "payment_intent",
    "payment_capture",
    "external_record",
)

install(metadata, {"sqlite": _SQLITE, "postgresql": _POSTGRESQL})
for _table in _APPEND_ONLY:
    install(metadata, append_only(_table))

RECEIVABLE: Final = "receivable"
REVENUE: Final = "revenue"
PROVIDER_CLEARING: Final = "provider_clearing"
PROVIDER_FEES: Final = "provider_fees"
BANK: Final = "bank"
SUSPENSE: Final = "suspense"

ACCOUNTS: Final = {
    RECEIVABLE: "asset",
    REVENUE: "revenue",
    PROVIDER_CLEARING: "asset",
    PROVIDER_FEES: "expense",
    BANK: "asset",
    SUSPENSE: "liability",
}
"""The chart of accounts: code to kind."""


def create_tables(engine: Engine) -> None:
    """Create the ledger's and billing's tables and triggers where they are missing; safe to call again."""
    ledger_tables.create_tables(engine, ACCOUNTS)
    with engine.begin() as connection:
        create_all(connection, metadata)
