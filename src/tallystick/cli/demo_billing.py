"""``tallystick demo billing``: what ``make run`` runs.

Owns: the command's options and the folder of a run. Must not know: the run's steps.
"""

from __future__ import annotations

import itertools
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class On(Enum):
    """Servers that the run can start by itself."""

    EMBEDDED = "embedded"
    APACHE = "apache"


def billing(
    full: Annotated[bool, typer.Option("--full", help="All 69,659 purchases instead of a tenth.")] = False,
    on: Annotated[On, typer.Option(help="Start ours with SQLite, or Apache Kafka with PostgreSQL.")] = (On.EMBEDDED),
    bootstrap: Annotated[str | None, typer.Option(help="A Kafka that runs already, host:port.")] = None,
    database: Annotated[str | None, typer.Option(help="A database that exists already, as a URL.")] = None,
    folder: Annotated[Path, typer.Option(help="Each run keeps everything in a folder of its own in here.")] = (
        Path(".tallystick/runs")
    ),
    cache: Annotated[Path, typer.Option(help="The data and the servers' files, for the next run.")] = (
        Path(".tallystick/cache")
    ),
) -> None:
    """Bill real purchases exactly once while a worker, the broker and the charging process are killed.

    6,919 purchases (69,659 with --full) go through validation, rating, invoices and card charges, on real processes
    over real protocols. Then topics, books and the provider's settlement are reconciled. The exit code is 0 only if
    everything agrees to the cent with a direct reading of the file, and the kills really hit.
    """
    from tallystick.demo.billing_run import RunOptions, run
    from tallystick.demo.screen import Screen

    options = RunOptions(
        folder=_fresh(folder.resolve()),
        cache=cache.resolve(),
        full=full,
        on_apache=on is On.APACHE,
        bootstrap=bootstrap,
        database_url=database,
    )
    raise typer.Exit(run(options, Screen()))


def _fresh(parent: Path) -> Path:
    """The first of ``run-1``, ``run-2`` and so on that nobody has."""
    parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        folder = parent / f"run-{number}"
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise AssertionError("unreachable")
