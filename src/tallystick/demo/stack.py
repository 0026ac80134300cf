"""What a run stands on: an event broker and a database, ours or somebody's.

Owns: ``Stack`` and the three ways to get one. Must not know: billing.

The application that runs on a stack is the same in all three; only ``bootstrap`` and ``database_url`` differ.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tallystick.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Stack:
    """``kill_broker`` sends SIGKILL to the broker and ``restart_broker`` starts it on the same data and port; both
    are None for a broker that is not ours to kill."""

    broker_name: str
    database_name: str
    bootstrap: str
    database_url: str
    kill_broker: Callable[[], None] | None = None
    restart_broker: Callable[[], object] | None = None


@contextmanager
def embedded(folder: Path) -> Iterator[Stack]:
    """The default on one machine: the embedded broker as its own process, and a SQLite file."""
    from tallystick.broker import EmbeddedBroker

    with EmbeddedBroker(folder / "broker") as broker:
        yield Stack(
            broker_name="embedded broker",
            database_name="SQLite",
            bootstrap=broker.bootstrap,
            database_url=f"sqlite:///{folder / 'billing.sqlite3'}",
            kill_broker=broker.kill,
            restart_broker=broker.start,
        )


@contextmanager
def apache(folder: Path, *, cache: Path | None = None) -> Iterator[Stack]:
    """Apache Kafka and PostgreSQL, both started here and stopped at the end."""
    from tallystick.servers import ApacheKafka, PostgreSQL

    # PostgreSQL refuses to run as root and then runs as another user, who may not enter every folder of root's.
    rows = None if os.geteuid() == 0 else folder / "postgresql"
    with ExitStack() as exits:
        postgres = exits.enter_context(PostgreSQL(data=rows))
        kafka = exits.enter_context(ApacheKafka(cache=cache, data=folder / "kafka"))
        yield Stack(
            broker_name="Apache Kafka",
            database_name="PostgreSQL",
            bootstrap=kafka.bootstrap,
            database_url=postgres.url,
            kill_broker=kafka.kill,
            restart_broker=kafka.start,
        )


@contextmanager
def external(folder: Path, *, bootstrap: str | None, database_url: str | None) -> Iterator[Stack]:
    """Servers that exist already; what is not given is ours. A server that is not ours is never killed."""
    if bootstrap is None and database_url is None:
        raise ConfigurationError("an external stack needs a bootstrap address or a database URL")
    with ExitStack() as exits:
        database = database_url or f"sqlite:///{folder / 'billing.sqlite3'}"
        database_name = "SQLite" if database.startswith("sqlite") else "your database"
        if bootstrap is None:
            own = exits.enter_context(embedded(folder))
            yield Stack(
                broker_name=own.broker_name,
                database_name=database_name,
                bootstrap=own.bootstrap,
                database_url=database,
                kill_broker=own.kill_broker,
                restart_broker=own.restart_broker,
            )
            return
        yield Stack(
            broker_name="your Kafka",
            database_name=database_name,
            bootstrap=bootstrap,
            database_url=database,
        )
