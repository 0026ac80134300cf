"""Where the databases come from, and what they cost: wall clock, and processor time of program and server."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.sql.work import make_tables
from sqlalchemy import Engine, text

from tallystick.boundary import open_database
from tallystick.servers import PostgreSQL


@dataclass(frozen=True, slots=True)
class Cost:
    wall_s: float
    processor_s: float

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.wall_s - other.wall_s, self.processor_s - other.processor_s)


class Site:
    """PostgreSQL with its defaults, SQLite as ``open_database`` sets it."""

    def __init__(self, server: PostgreSQL) -> None:
        self._server = server
        self._number = 0

    def now(self) -> Cost:
        """Processor time is this process's and that of all of PostgreSQL's, which on a busy machine says more than
        the clock on the wall."""
        return Cost(time.perf_counter(), time.process_time() + _of_descendants())

    @contextmanager
    def tables(self, kind: str) -> Iterator[Engine]:
        """An engine over empty tables."""
        with self._database(kind) as engine:
            make_tables(engine)
            yield engine

    @contextmanager
    def _database(self, kind: str) -> Iterator[Engine]:
        if kind == "sqlite":
            with TemporaryDirectory() as folder:
                engine = open_database(f"sqlite:///{Path(folder) / 'bench.sqlite'}")
                yield engine
                engine.dispose()
            return
        self._number += 1
        name = f"bench_{self._number}"
        admin = open_database(self._server.url)
        _execute(admin, f"CREATE DATABASE {name}")
        engine = open_database(self._server.url_of(name))
        yield engine
        engine.dispose()
        _execute(admin, f"DROP DATABASE {name}")
        _execute(admin, "CHECKPOINT")
        admin.dispose()


def _execute(engine: Engine, statement: str) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(statement))


def _of_descendants() -> float:
    """Seconds of all processes that this one started, of those that have ended too."""
    ticks, waiting = 0, _children(os.getpid())
    while waiting:
        pid = waiting.pop()
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(int(field) for field in fields[11:15])
        waiting += _children(pid)
    return ticks / os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []
