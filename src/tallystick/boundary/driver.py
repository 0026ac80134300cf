"""The driver's own connection beneath a SQLAlchemy connection, in the same transaction.

Owns: getting at it, and its errors told as SQLAlchemy's, so that nobody has to know two families. Must not know: which
statements run. What comes in arrays of thousands, or in thousands of statements, is not worth building for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from re import compile as pattern
from typing import Any, Final

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

_PLAIN: Final = pattern(r"[0-9A-Za-z._,-]*")
_QUOTED: Final = str.maketrans({'"': r"\"", "\\": r"\\"})


@contextmanager
def driver(connection: Connection) -> Iterator[Any]:
    """A ``psycopg.Connection`` or a ``sqlite3.Connection``. Raises ``sqlalchemy.exc.DBAPIError``, as ever."""
    raw = connection.connection.driver_connection
    errors: Any = connection.dialect.loaded_dbapi
    try:
        yield raw
    except errors.Error as error:
        lost = bool(getattr(raw, "closed", False))
        if lost and not connection.invalidated:
            connection.invalidate(error)
        raise DBAPIError.instance(
            None, None, error, errors.Error, connection_invalidated=lost, dialect=connection.dialect
        ) from error


def array_literal(values: Sequence[str]) -> str:
    """The values as PostgreSQL writes an array of text: one parameter, in a fraction of a list's time."""
    joined = ",".join(values)
    if _PLAIN.fullmatch(joined) and joined.count(",") == len(values) - 1 and "" not in values:
        return f"{{{joined}}}"
    return "{" + ",".join(f'"{value.translate(_QUOTED)}"' for value in values) + "}"
