"""Insert first: whether an event was processed is asked by inserting its id, never by looking.

Owns: ``once``, for a program that has its own consumer loop and its own SQL connection. Must not know: Kafka, nor how a
connection of each library runs a statement (``inbox_connections``). Needs no SQLAlchemy: a plain ``sqlite3`` or psycopg
connection does (its tables come from ``create_inbox``).

    with connection:                              # one SQL transaction for both
        if inbox.once(connection, event_id, body):
            connection.execute("UPDATE account ...")
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from tallystick.boundary.inbox_connections import opened
from tallystick.errors import TallystickError
from tallystick.ids import body_hash

if TYPE_CHECKING:
    from tallystick.pipeline.records import Output

DEFAULT_SCOPE: Final = "default"

_INSERT: Final = (
    "INSERT INTO tallystick_inbox (scope, event_id, body_hash, created_at_ms) VALUES (%s, %s, %s, %s) "
    "ON CONFLICT (scope, event_id) DO NOTHING RETURNING event_id"
)
_SELECT: Final = "SELECT body_hash FROM tallystick_inbox WHERE scope = %s AND event_id = %s"
_KEEP: Final = "UPDATE tallystick_inbox SET outputs = %s WHERE scope = %s AND event_id = %s"
_KEPT: Final = "SELECT outputs FROM tallystick_inbox WHERE scope = %s AND event_id = %s"
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


def once(connection: Any, event_id: str, body: bytes = b"", *, scope: str = DEFAULT_SCOPE) -> bool:
    """True exactly once for an event id in a scope, if the caller's transaction commits.

    ``connection``: a ``sqlite3.Connection``, a ``psycopg.Connection``, a SQLAlchemy ``Connection`` or ``Session``, or
    Django's, inside the transaction that also writes the business rows. One that commits by itself is refused with
    ``ConfigurationError``: the event would count as processed before it is.

    On PostgreSQL the insert waits for another open transaction with the same id and then answers for certain, so
    repeating it is also how an ambiguous commit is settled (rule 28).

    Raises ``BodyConflict`` if the id is known with another body. Bodies are compared by ``ids.body_hash``; without a
    body, all bodies are alike.
    """
    found = opened(connection, in_transaction=True)
    digest = body_hash(body)
    if found.run(_INSERT, (scope, event_id, digest, time.time_ns() // 1_000_000)):
        return True
    known = found.run(_SELECT, (scope, event_id))
    if known and known[0][0] != digest:
        raise BodyConflict(scope=scope, event_id=event_id, first_body_hash=known[0][0], other_body_hash=digest)
    return False


def keep_outputs(connection: Any, event_id: str, outputs: Sequence[Output], *, scope: str = DEFAULT_SCOPE) -> None:
    """Store what the event gave beside its inbox row, in the transaction in which ``once`` said True."""
    from tallystick.boundary.stored_outputs import encode_outputs

    opened(connection, in_transaction=True).run(_KEEP, (encode_outputs(outputs), scope, event_id))


def kept_outputs(connection: Any, event_id: str, *, scope: str = DEFAULT_SCOPE) -> tuple[Output, ...]:
    """What the event gave the first time, to send the same again: a program that died after its SQL commit may not
    have sent it (rule 25). ``KeyError`` if the event is not known."""
    from tallystick.boundary.stored_outputs import decode_outputs

    rows = opened(connection, in_transaction=False).run(_KEPT, (scope, event_id))
    if not rows:
        raise KeyError(event_id)
    raw = rows[0][0]
    return decode_outputs(None if raw is None else bytes(raw), place=f"tallystick_inbox {scope!r} {event_id}")


def create_inbox(connection: Any) -> None:
    """Create the inbox table if it is missing: the same table as ``create_tables`` makes, without the others."""
    found = opened(connection, in_transaction=False)
    found.run(_CREATE.format(blob=found.blob), ())
