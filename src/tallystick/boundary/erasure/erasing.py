"""Destroying a subject's key: what it sealed stays where it is, and nobody can read it any more.

Owns: what is counted before, the one transaction, ``tallystick_erasure``. Must not know: who asks for it.

What is still under way is not erased: an attempt that may have to be sent again needs its bytes, and a webhook that is
not processed yet, or a record that is not published, would be lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Connection, Engine, Table, and_, false, func, or_, select, text, update

from tallystick.boundary import schema
from tallystick.boundary.database import reading
from tallystick.boundary.effects import OPEN_STATES
from tallystick.boundary.erasure.sealed import hash_prefix, sealed_prefix
from tallystick.boundary.erasure.subject_keys import SubjectKeys
from tallystick.boundary.erasure_tables import erasure, subject_key
from tallystick.errors import ConfigurationError
from tallystick.killpoints import declare, reach

KEY_DESTROYED: Final = declare("erasure.key-destroyed", "the key is gone, what is kept about that is not written")
BEFORE_ERASURE_COMMIT: Final = declare(
    "erasure.before-commit", "the key is gone and the erasure is written, their SQL transaction is open"
)
_MAX_TEXT: Final = {"who erases": 200, "the reason": 2_000}
_attempt = schema.effect_attempt.c
_suspense = schema.effect_suspense.c
_webhook = schema.webhook_in.c
_key = subject_key.c


@dataclass(frozen=True, slots=True)
class Erasure:
    """Who erased a subject, when and why. ``sealed_rows`` are those that nobody can read since."""

    keys_destroyed: int
    sealed_rows: int
    erased_by: str
    reason: str
    erased_at_ms: int


@dataclass(frozen=True, slots=True)
class Holdings:
    """What is kept about a subject: rows that its live keys seal, by table; what stands in the way of erasing them;
    and what was erased before."""

    subject_digest: str
    key_ids: tuple[int, ...]
    rows: Mapping[str, int]
    open_attempts: int
    waiting_webhooks: int
    unpublished: int
    """Rows of the outbox that Kafka does not have yet."""
    erasures: tuple[Erasure, ...]

    @property
    def is_under_way(self) -> bool:
        return bool(self.open_attempts or self.waiting_webhooks or self.unpublished)


def holdings(engine: Engine, subject: str) -> Holdings:
    """What ``erase`` would do; nothing is changed. Reads the whole of each table that can hold sealed bytes."""
    with reading(engine) as connection:
        return _holdings(connection, subject)


def erase(engine: Engine, subject: str, *, by: str, reason: str, now_ms: int) -> Holdings:
    """Destroy the subject's key and write who did it and why, in one SQL transaction; what was there before.

    Raises ``ConfigurationError`` if the subject has no key, and while attempts are open or webhooks wait.
    """
    for name, value in (("who erases", by), ("the reason", reason)):
        if not value.strip() or len(value) > _MAX_TEXT[name]:
            raise ConfigurationError(f"{name} is 1 to {_MAX_TEXT[name]} characters")
    sqlite = engine.dialect.name == "sqlite"
    with engine.begin() as connection:
        if sqlite:
            connection.execute(text("PRAGMA secure_delete = ON"))  # the page's old bytes are written over
        digest = SubjectKeys().digest(connection, subject)
        live = and_(_key.subject_digest == digest, _key.data_key.is_not(None))
        connection.execute(select(_key.key_id).where(live).with_for_update())  # waits for who seals at the moment
        found = _holdings(connection, subject)
        _check(found, subject)
        connection.execute(update(subject_key).where(live).values(data_key=None, destroyed_at_ms=now_ms))
        reach(KEY_DESTROYED)
        connection.execute(
            erasure.insert().values(
                subject_digest=digest,
                keys_destroyed=len(found.key_ids),
                sealed_rows=sum(found.rows.values()),
                erased_by=by,
                reason=reason,
                erased_at_ms=now_ms,
            )
        )
        reach(BEFORE_ERASURE_COMMIT)
    _clear_away(engine)
    return found


def _clear_away(engine: Engine) -> None:
    """The former row goes from the files too, as far as the database lets us."""
    statement = "PRAGMA wal_checkpoint(TRUNCATE)" if engine.dialect.name == "sqlite" else f"VACUUM {subject_key.name}"
    raw = engine.raw_connection()
    try:
        driver = raw.driver_connection
        if driver is None:
            return
        if engine.dialect.name != "sqlite":
            driver.autocommit = True
        driver.cursor().execute(statement)
        if engine.dialect.name != "sqlite":
            driver.autocommit = False
    finally:
        raw.close()


def _check(found: Holdings, subject: str) -> None:
    if not found.key_ids:
        raise ConfigurationError(
            f"there is no key of subject {subject!r}",
            remedy="It was erased before, or nothing was sealed under this name: give the one that your program gives",
        )
    if found.is_under_way:
        raise ConfigurationError(
            f"subject {subject!r} has {found.open_attempts} attempts that are not settled, "
            f"{found.waiting_webhooks} webhooks that are not processed and {found.unpublished} records that are not "
            "published",
            rule=31,
            remedy="Settle them first ('tallystick effects list'): an attempt may need its bytes again",
        )


def _holdings(connection: Connection, subject: str) -> Holdings:
    digest = SubjectKeys().digest(connection, subject)
    live = select(_key.key_id).where(_key.subject_digest == digest, _key.data_key.is_not(None))
    key_ids = tuple(connection.execute(live.order_by(_key.key_id)).scalars())
    attempts = _sealed(_attempt.request_hash, key_ids)
    webhooks = _sealed(_webhook.body_hash, key_ids)
    outbox = or_(
        false(),
        *(
            func.substr(column, 1, len(prefix)) == prefix
            for prefix in map(sealed_prefix, key_ids)
            for column in (schema.outbox.c.record_key, schema.outbox.c.record_value)
        ),
    )
    of_these = select(_attempt.attempt_id).where(attempts)
    rows: dict[Table, ColumnElement[bool]] = {
        schema.inbox: _sealed(schema.inbox.c.body_hash, key_ids),
        schema.inbox_conflict: _sealed(schema.inbox_conflict.c.body_hash, key_ids),
        schema.effect_attempt: attempts,
        schema.effect_suspense: _suspense.attempt_id.in_(of_these.scalar_subquery()),
        schema.webhook_in: webhooks,
        schema.outbox: outbox,
    }
    states = [state.value for state in OPEN_STATES]
    past = select(erasure).where(erasure.c.subject_digest == digest).order_by(erasure.c.erasure)
    return Holdings(
        digest,
        key_ids,
        {table.name: _count(connection, table, condition) for table, condition in rows.items()},
        _count(connection, schema.effect_attempt, and_(attempts, _attempt.state.in_(states))),
        _count(connection, schema.webhook_in, and_(webhooks, _webhook.state == "RECEIVED")),
        _count(connection, schema.outbox, and_(outbox, schema.outbox.c.published_at_ms.is_(None))),
        tuple(
            Erasure(**{name: row[name] for name in Erasure.__dataclass_fields__})
            for row in connection.execute(past).mappings()
        ),
    )


def _sealed(column: ColumnElement[str], key_ids: tuple[int, ...]) -> ColumnElement[bool]:
    return or_(false(), *(column.startswith(hash_prefix(key_id)) for key_id in key_ids))


def _count(connection: Connection, table: Table, condition: ColumnElement[bool]) -> int:
    return int(connection.execute(select(func.count()).select_from(table).where(condition)).scalar_one())
