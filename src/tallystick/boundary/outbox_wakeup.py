"""Waiting for outbox rows: PostgreSQL calls (LISTEN), SQLite is asked again after a while.

Owns: the channel's name, the listening connection. Must not know: rows. A call that is lost costs time and nothing
else: whoever waits looks again after a second anyway.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Final

import structlog
from sqlalchemy import Connection, Engine, text

CHANNEL: Final = "tallystick_outbox"
_LISTEN_S: Final = 1.0
_SLICE_S: Final = 0.1
"""How soon a stop is noticed while listening."""

_log = structlog.get_logger(__name__)
_NOTIFY: Final = text(f"NOTIFY {CHANNEL}")


def call(connection: Connection) -> None:
    """Wake the relay when the caller's transaction commits; PostgreSQL folds the calls of one transaction into one."""
    if connection.dialect.name == "postgresql":
        connection.execute(_NOTIFY)


class Wakeup:
    def __init__(self, engine: Engine, poll_ms: int) -> None:
        self._engine = engine
        self._poll_s = poll_ms / 1000
        self._listening: Any = None

    def wait(self, stop: threading.Event) -> None:
        """Until there may be rows, or ``stop`` is set, or it is time to look."""
        if self._engine.dialect.name != "postgresql":
            stop.wait(self._poll_s)
            return
        import psycopg

        try:
            self._listen(stop)
        except psycopg.OperationalError as error:
            _log.warning("outbox.not-listening", reason=str(error))
            self.close()
            stop.wait(self._poll_s)

    def _listen(self, stop: threading.Event) -> None:
        if self._listening is None:
            import psycopg

            url = self._engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
            self._listening = psycopg.connect(url, autocommit=True)
            self._listening.execute(f"LISTEN {CHANNEL}")
            return  # what was committed before this moment calls nobody: look once more
        deadline = time.monotonic() + _LISTEN_S
        while not stop.is_set() and time.monotonic() < deadline:
            for _call in self._listening.notifies(timeout=_SLICE_S, stop_after=1):
                return

    def close(self) -> None:
        if self._listening is not None:
            self._listening.close()
            self._listening = None
