"""The journal's tables, and the triggers that keep its invariants whoever writes.

Owns: ``ledger_account``, ``journal_tx``, ``journal_entry``. Must not know: what the accounts are for.

How the database enforces that a transaction sums to zero. A row of ``journal_tx`` carries all its entries as one JSON
array. A trigger before the insert refuses an array that is not balanced in each currency; a trigger after it expands
the array into ``journal_entry`` rows; and ``journal_entry`` refuses every row that is not an element of its
transaction's array. So a transaction is complete and balanced at every moment, from its one INSERT on: there is no
draft state, no deferred check and no setting of a connection that the invariant depends on. All three tables refuse
UPDATE and DELETE (and TRUNCATE; and SQLite's ``INSERT OR REPLACE``, which deletes without firing delete triggers).
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    DDL,
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    Engine,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    event,
    inspect,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite

from tallystick.errors import ConfigurationError

metadata: Final = MetaData()

ledger_account: Final = Table(
    "ledger_account",
    metadata,
    Column("code", String(100), primary_key=True),
    Column("kind", String(20), nullable=False),
    CheckConstraint("kind IN ('asset', 'liability', 'equity', 'revenue', 'expense')", name="ledger_account_kind"),
)

journal_tx: Final = Table(
    "journal_tx",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("cause_id", String(100), nullable=False),
    Column("purpose", String(50), nullable=False),
    Column("effective_on", String(10), nullable=False),
    Column("entries", Text, nullable=False),
    Column("body_hash", String(64), nullable=False),
    UniqueConstraint("cause_id", "purpose", name="journal_tx_once"),
)

journal_entry: Final = Table(
    "journal_entry",
    metadata,
    Column("tx_id", String(36), ForeignKey("journal_tx.id"), primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("account", String(100), ForeignKey("ledger_account.code"), nullable=False, index=True),
    Column("party", String(100), nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    CheckConstraint("amount_minor <> 0", name="journal_entry_not_zero"),
)

_SQLITE: Final = (
    # ``INSERT OR REPLACE`` reaches BEFORE triggers before it deletes anything: an existing id stops it here.
    """
    CREATE TRIGGER IF NOT EXISTS journal_tx_before_insert BEFORE INSERT ON journal_tx BEGIN
      SELECT RAISE(ABORT, 'journal_tx is append-only: this id has other contents')
        WHERE EXISTS (SELECT 1 FROM journal_tx WHERE id = NEW.id AND body_hash <> NEW.body_hash);
      SELECT RAISE(IGNORE) WHERE EXISTS (SELECT 1 FROM journal_tx WHERE id = NEW.id);
      SELECT RAISE(ABORT, 'journal_tx is append-only: this cause and purpose are posted')
        WHERE EXISTS (SELECT 1 FROM journal_tx WHERE cause_id = NEW.cause_id AND purpose = NEW.purpose);
      SELECT RAISE(ABORT, 'journal_tx.entries is no JSON array of at least two entries')
        WHERE NOT json_valid(NEW.entries) OR json_type(NEW.entries) <> 'array' OR json_array_length(NEW.entries) < 2;
      SELECT RAISE(ABORT, 'journal_tx.entries: an entry is malformed') FROM json_each(NEW.entries) AS e
        WHERE e.type <> 'object'
           OR json_type(e.value, '$.account') IS NOT 'text' OR json_type(e.value, '$.party') IS NOT 'text'
           OR json_type(e.value, '$.currency') IS NOT 'text'
           -- typeof, not json_type: an integer beyond 64 bits is read as a float
           OR typeof(json_extract(e.value, '$.amount_minor')) IS NOT 'integer'
           -- checked here although the rows have a CHECK: under INSERT OR FAIL or OR IGNORE that comes too late
           OR json_extract(e.value, '$.amount_minor') = 0;
      SELECT RAISE(ABORT, 'journal_tx.entries: an account does not exist') FROM json_each(NEW.entries) AS e
        WHERE NOT EXISTS (SELECT 1 FROM ledger_account WHERE code = json_extract(e.value, '$.account'));
      SELECT RAISE(ABORT, 'journal_tx does not sum to zero') WHERE EXISTS (
        SELECT 1 FROM json_each(NEW.entries) AS e GROUP BY json_extract(e.value, '$.currency')
        HAVING SUM(json_extract(e.value, '$.amount_minor')) <> 0);
    END
    """,
    """
    CREATE TRIGGER IF NOT EXISTS journal_tx_after_insert AFTER INSERT ON journal_tx BEGIN
      INSERT INTO journal_entry (tx_id, ordinal, account, party, amount_minor, currency)
        SELECT NEW.id, e.key, json_extract(e.value, '$.account'), json_extract(e.value, '$.party'),
               json_extract(e.value, '$.amount_minor'), json_extract(e.value, '$.currency')
        FROM json_each(NEW.entries) AS e;
    END
    """,
    """
    CREATE TRIGGER IF NOT EXISTS journal_entry_before_insert BEFORE INSERT ON journal_entry BEGIN
      SELECT RAISE(ABORT, 'journal_entry is append-only') WHERE EXISTS (
        SELECT 1 FROM journal_entry WHERE tx_id = NEW.tx_id AND ordinal = NEW.ordinal);
      SELECT RAISE(ABORT, 'journal_entry is no element of its transaction') WHERE NOT EXISTS (
        SELECT 1 FROM journal_tx AS t, json_each(t.entries) AS e
        WHERE t.id = NEW.tx_id AND e.key = NEW.ordinal AND typeof(NEW.ordinal) = 'integer'
          AND json_extract(e.value, '$.account') = NEW.account AND json_extract(e.value, '$.party') = NEW.party
          AND json_extract(e.value, '$.amount_minor') = NEW.amount_minor
          AND json_extract(e.value, '$.currency') = NEW.currency);
    END
    """,
    """
    CREATE TRIGGER IF NOT EXISTS ledger_account_before_insert BEFORE INSERT ON ledger_account BEGIN
      SELECT RAISE(ABORT, 'ledger_account is append-only') WHERE EXISTS (
        SELECT 1 FROM ledger_account WHERE code = NEW.code AND kind <> NEW.kind);
      SELECT RAISE(IGNORE) WHERE EXISTS (SELECT 1 FROM ledger_account WHERE code = NEW.code);
    END
    """,
)

_POSTGRESQL: Final = (
    """
    CREATE OR REPLACE FUNCTION journal_tx_check() RETURNS trigger LANGUAGE plpgsql AS $body$
    DECLARE parsed jsonb := NEW.entries::jsonb;
    BEGIN
      IF jsonb_typeof(parsed) <> 'array' OR jsonb_array_length(parsed) < 2 THEN
        RAISE EXCEPTION 'journal_tx.entries is no JSON array of at least two entries'
          USING ERRCODE = 'check_violation';
      END IF;
      IF EXISTS (SELECT 1 FROM jsonb_array_elements(parsed) AS e WHERE
           jsonb_typeof(e) <> 'object'
           OR jsonb_typeof(e -> 'account') IS DISTINCT FROM 'string'
           OR jsonb_typeof(e -> 'party') IS DISTINCT FROM 'string'
           OR jsonb_typeof(e -> 'currency') IS DISTINCT FROM 'string'
           OR jsonb_typeof(e -> 'amount_minor') IS DISTINCT FROM 'number'
           OR (e ->> 'amount_minor') !~ '^-?[0-9]{1,19}$') THEN
        RAISE EXCEPTION 'journal_tx.entries: an entry is malformed' USING ERRCODE = 'check_violation';
      END IF;
      IF EXISTS (SELECT 1 FROM jsonb_array_elements(parsed) AS e
                 GROUP BY e ->> 'currency' HAVING SUM((e ->> 'amount_minor')::bigint) <> 0) THEN
        RAISE EXCEPTION 'journal_tx does not sum to zero' USING ERRCODE = 'check_violation';
      END IF;
      RETURN NEW;
    END $body$
    """,
    """
    CREATE OR REPLACE FUNCTION journal_tx_expand() RETURNS trigger LANGUAGE plpgsql AS $body$
    BEGIN
      INSERT INTO journal_entry (tx_id, ordinal, account, party, amount_minor, currency)
        SELECT NEW.id, e.position - 1, e.entry ->> 'account', e.entry ->> 'party',
               (e.entry ->> 'amount_minor')::bigint, e.entry ->> 'currency'
        FROM jsonb_array_elements(NEW.entries::jsonb) WITH ORDINALITY AS e(entry, position);
      RETURN NULL;
    END $body$
    """,
    """
    CREATE OR REPLACE FUNCTION journal_entry_check() RETURNS trigger LANGUAGE plpgsql AS $body$
    BEGIN
      IF NOT EXISTS (SELECT 1 FROM journal_tx AS t
           WHERE t.id = NEW.tx_id AND NEW.ordinal >= 0 AND (t.entries::jsonb -> NEW.ordinal) @> jsonb_build_object(
             'account', NEW.account, 'party', NEW.party, 'amount_minor', NEW.amount_minor, 'currency', NEW.currency))
      THEN
        RAISE EXCEPTION 'journal_entry is no element of its transaction' USING ERRCODE = 'check_violation';
      END IF;
      RETURN NEW;
    END $body$
    """,
    """
    CREATE OR REPLACE FUNCTION ledger_append_only() RETURNS trigger LANGUAGE plpgsql AS $body$
    BEGIN
      RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'check_violation';
    END $body$
    """,
    """
    CREATE OR REPLACE TRIGGER journal_tx_before_insert BEFORE INSERT ON journal_tx
      FOR EACH ROW EXECUTE FUNCTION journal_tx_check()
    """,
    """
    CREATE OR REPLACE TRIGGER journal_tx_after_insert AFTER INSERT ON journal_tx
      FOR EACH ROW EXECUTE FUNCTION journal_tx_expand()
    """,
    """
    CREATE OR REPLACE TRIGGER journal_entry_before_insert BEFORE INSERT ON journal_entry
      FOR EACH ROW EXECUTE FUNCTION journal_entry_check()
    """,
)


def append_only(table: str) -> dict[str, tuple[str, ...]]:
    """The statements that refuse UPDATE, DELETE and TRUNCATE on ``table``, by dialect.

    The PostgreSQL ones use the function ``ledger_append_only``, which the ledger's own tables create.
    """
    on_sqlite = tuple(
        f"CREATE TRIGGER IF NOT EXISTS {table}_no_{action.lower()} BEFORE {action} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        for action in ("UPDATE", "DELETE")
    )
    on_postgresql = (
        (
            f"CREATE OR REPLACE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION ledger_append_only()"
        ),
        (
            f"CREATE OR REPLACE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION ledger_append_only()"
        ),
    )
    return {"sqlite": on_sqlite, "postgresql": on_postgresql}


def install(target: MetaData, statements: dict[str, tuple[str, ...]]) -> None:
    """Run ``statements`` (by dialect) after the tables of ``target`` were created."""
    for dialect, commands in statements.items():
        for command in commands:
            # DDL() formats with %: a literal one is doubled
            event.listen(target, "after_create", DDL(command.replace("%", "%%")).execute_if(dialect=dialect))  # type: ignore[no-untyped-call]


install(metadata, {"sqlite": _SQLITE, "postgresql": _POSTGRESQL})
for _table in ("ledger_account", "journal_tx", "journal_entry"):
    install(metadata, append_only(_table))


def create_all(connection: Connection, target: MetaData) -> None:
    """Create what is missing of ``target``; several processes may do so at once.

    PostgreSQL: ``CREATE TABLE IF NOT EXISTS`` is no lock, so one is taken; and where every table exists nothing is
    said at all, because replacing a trigger would wait for, and stop, the writers of its table.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(7265736978)"))
        if set(target.tables) <= set(inspect(connection).get_table_names()):
            return
    target.create_all(connection)


def create_tables(engine: Engine, accounts: dict[str, str]) -> None:
    """Create the ledger's tables and triggers where they are missing, and open ``accounts`` (code to kind).

    Raises ``ConfigurationError`` for an account that exists with another kind. Safe to call again.
    """
    with engine.begin() as connection:
        create_all(connection, metadata)
        insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        found = {row.code: row.kind for row in connection.execute(select(ledger_account))}
        for code, kind in sorted(accounts.items()):
            if found.get(code, kind) != kind:
                raise ConfigurationError(f"account {code!r} exists as {found[code]}, not as {kind}")
            statement = insert(ledger_account).values(code=code, kind=kind)
            connection.execute(statement.on_conflict_do_nothing(index_elements=["code"]))
