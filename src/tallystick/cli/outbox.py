"""``tallystick outbox``: how much waits to be published, and forgetting what is published."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from tallystick.cli.inbox import Database, before_ms_of, day, opened_engine
from tallystick.cli.operate.options import AsJson
from tallystick.cli.operate.screen import show

outbox: Final = typer.Typer(
    name="outbox", help="The outbox: what waits to be published, forgetting what is.", no_args_is_help=True
)

Keep = Annotated[str, typer.Option(help="How long a published record stays: 30d, 36h.")]
_COLUMNS: Final = ("Rows", "Unpublished", "Forgettable", "Oldest")


@outbox.command("list")
def list_outbox(database: Database, keep: Keep = "30d", as_json: AsJson = False) -> None:
    """Count the rows, those that Kafka does not have yet, and those that could be forgotten."""
    from tallystick.boundary.outbox_retention import outbox_size

    before_ms = before_ms_of(keep)
    with opened_engine(database) as engine:
        size = outbox_size(engine, before_ms=before_ms)
    row = (size.rows, size.unpublished, size.forgettable, day(size.oldest_ms))
    show(_COLUMNS, [row], as_json=as_json, empty="")


@outbox.command()
def forget(
    database: Database,
    keep: Keep,
    execute: Annotated[bool, typer.Option("--execute", help="Do it. Without this, only count.")] = False,
) -> None:
    """Forget rows that were published longer ago than --keep. Does it with --execute.

    An event id that is forgotten is published again if a program adds it again, and what is forgotten cannot be
    published again after Kafka was restored from a backup: keep it longer than either may happen.
    """
    from rich.progress import Progress

    from tallystick.boundary.outbox_retention import forget_published, outbox_size

    before_ms = before_ms_of(keep)
    with opened_engine(database) as engine:
        size = outbox_size(engine, before_ms=before_ms)
        if not execute:
            typer.echo(f"{size.forgettable:,} of {size.rows:,} rows; add --execute to forget them")
            return
        with Progress(transient=True) as progress:
            task = progress.add_task("forgetting", total=size.forgettable)
            count = forget_published(
                engine, before_ms=before_ms, on_step=lambda done: progress.update(task, completed=done)
            )
    typer.echo(f"forgot {count:,} of {size.rows:,} rows")
