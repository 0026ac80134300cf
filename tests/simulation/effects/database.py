"""A database for one schedule after the other: the same tables, empty.

Owns: how they become empty quickly. Must not know: schedules.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, text

from tallystick.boundary import create_tables, open_database

_POSTING = "CREATE TABLE posting (attempt_id VARCHAR(36), object_id VARCHAR(200), amount_minor INTEGER)"
_SUSPENDED = "CREATE TABLE suspended (object_id VARCHAR(200), amount_minor INTEGER)"
_EMPTIED = ("posting", "suspended", "tallystick_effect_suspense", "tallystick_effect_ruling", "tallystick_webhook_in")
_LAST = ("tallystick_effect_attempt", "tallystick_effect_intent")


def prepare(engine: Engine) -> None:
    create_tables(engine)
    with engine.begin() as connection:
        connection.execute(text(_POSTING))
        connection.execute(text(_SUSPENDED))


class SqliteFiles:
    """A file that is copied for each schedule."""

    def __init__(self, folder: Path) -> None:
        self._empty, self._used = folder / "empty.sqlite", folder / "used.sqlite"
        engine = open_database(f"sqlite:///{self._empty}")
        prepare(engine)
        engine.dispose()

    @contextmanager
    def opened(self) -> Iterator[Engine]:
        for left in self._used.parent.glob("used.sqlite*"):
            left.unlink()
        shutil.copy(self._empty, self._used)
        engine = open_database(f"sqlite:///{self._used}")
        try:
            yield engine
        finally:
            engine.dispose()


@contextmanager
def emptied(engine: Engine) -> Iterator[Engine]:
    """The same tables without their rows, for a database that is no file."""
    with engine.begin() as connection:
        for table in (*_EMPTIED, *_LAST):
            connection.execute(text(f"DELETE FROM {table}"))  # noqa: S608  our own names
    yield engine
