"""``tallystick inbox``: how large inboxes are, their conflicts, and forgetting what nothing can ask for any more."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tallystick.cli.operate.options import AsJson, Bootstrap, CommandConfig, opened
from tallystick.cli.operate.screen import show
from tallystick.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import Engine

inbox: Final = typer.Typer(
    name="inbox", help="Inboxes of SQL effects: sizes, conflicts, forgetting old rows.", no_args_is_help=True
)

Database = Annotated[str, typer.Option(envvar="TALLYSTICK_DATABASE", help="sqlite:///path or postgresql://...")]
GroupOption = Annotated[
    list[str] | None,
    typer.Option("--group", help="Consumer group that fills the inbox; rows it may still read again stay. Repeatable."),
]
Keep = Annotated[str, typer.Option(help="How long the business may send an event twice: 90d, 400d, 36h.")]
_UNITS: Final = {"d": 86_400_000, "h": 3_600_000, "min": 60_000}


@inbox.command("list")
def list_inboxes(
    database: Database,
    keep: Keep = "400d",
    group: GroupOption = None,
    bootstrap: Bootstrap = None,
    command_config: CommandConfig = None,
    as_json: AsJson = False,
) -> None:
    """List the scopes with their rows, and how many of those could be forgotten."""
    from tallystick.boundary.retention import inbox_sizes

    before_ms = before_ms_of(keep)
    committed = _committed(group, bootstrap, command_config)
    with opened_engine(database) as engine:
        sizes = inbox_sizes(engine, scope=None, committed=committed, before_ms=before_ms)
    rows = [(size.scope, size.rows, size.forgettable, day(size.oldest_ms)) for size in sizes]
    show(("Scope", "Rows", "Forgettable", "Oldest"), rows, as_json=as_json, empty="the inboxes are empty")


@inbox.command()
def forget(
    scope: Annotated[str, typer.Argument(help="The effect's name.")],
    database: Database,
    keep: Keep,
    group: GroupOption = None,
    execute: Annotated[bool, typer.Option("--execute", help="Do it. Without this, only count.")] = False,
    bootstrap: Bootstrap = None,
    command_config: CommandConfig = None,
) -> None:
    """Forget rows that are older than --keep and that the group has read past. Does it with --execute.

    Afterwards the inbox knows how far it has forgotten: a group that is set back below that is stopped, and an event
    that is older becomes a dead letter, because neither can be told from new work.
    """
    from rich.progress import Progress

    from tallystick.boundary.retention import forget as forget_rows
    from tallystick.boundary.retention import inbox_sizes

    before_ms = before_ms_of(keep)
    committed = _committed(group, bootstrap, command_config)
    with opened_engine(database) as engine:
        sizes = inbox_sizes(engine, scope=scope, committed=committed, before_ms=before_ms)
        if not sizes:
            raise ConfigurationError(
                f"there is no inbox of scope {scope!r}", remedy="'tallystick inbox list' names them"
            )
        (size,) = sizes
        if not execute:
            typer.echo(f"{size.forgettable:,} of {size.rows:,} rows; add --execute to forget them")
            return
        with Progress(transient=True) as progress:
            task = progress.add_task(f"forgetting {scope}", total=size.forgettable)
            count = forget_rows(
                engine,
                scope=scope,
                committed=committed,
                before_ms=before_ms,
                on_step=lambda done: progress.update(task, completed=done),
            )
    typer.echo(f"forgot {count:,} of {size.rows:,} rows")


@inbox.command("conflicts")
def list_conflicts(
    database: Database,
    scope: Annotated[str | None, typer.Option(help="The effect's name; all of them without.")] = None,
    as_json: AsJson = False,
) -> None:
    """List events whose id came again with another body. They were not processed: one of the two is wrong.

    The usual cause is an id that does not name the fact: made of a customer instead of an order, say.
    """
    from tallystick.boundary.conflicts import conflicts

    with opened_engine(database) as engine:
        found = conflicts(engine, scope=scope)
    rows = [
        (
            one["scope"],
            one["event_id"],
            _place(one["topic"], one["partition"], one["record_offset"]),
            _place(one["first_topic"], one["first_partition"], one["first_offset"]),
            one["times_seen"],
            day(one["first_seen_at_ms"]),
        )
        for one in found
    ]
    columns = ("Scope", "Event id", "Refused at", "Processed at", "Times", "Since")
    show(columns, rows, as_json=as_json, empty="no conflicts")


@inbox.command("show-conflict")
def show_conflict(
    scope: Annotated[str, typer.Argument(help="The effect's name.")],
    event_id: Annotated[str, typer.Argument(help="From 'tallystick inbox conflicts'.")],
    database: Database,
) -> None:
    """Print each refused body of an event, as it came. The processed one stands in its topic."""
    from tallystick.boundary.conflicts import refused_bodies

    with opened_engine(database) as engine:
        bodies = refused_bodies(engine, scope, event_id)
    if not bodies:
        raise ConfigurationError(
            f"no conflict of {event_id} in {scope!r}", remedy="'tallystick inbox conflicts' lists them"
        )
    for digest, body in bodies:
        typer.echo(f"hash {digest}", err=True)
        typer.echo("(no value)" if body is None else body)


def _place(topic: str | None, partition: int | None, offset: int | None) -> str | None:
    return None if topic is None else f"{topic}-{partition}@{offset}"


@contextmanager
def opened_engine(database: str) -> Iterator[Engine]:
    """The database, its tables brought up to date."""
    from tallystick.boundary import create_tables, open_database

    engine = open_database(database, must_exist=True)
    try:
        create_tables(engine)
        yield engine
    finally:
        engine.dispose()


def _committed(
    groups: list[str] | None, bootstrap: Bootstrap, command_config: CommandConfig
) -> Mapping[tuple[str, int], int]:
    """The lowest committed offset of each partition over all the groups."""
    from tallystick.operate.groups import committed_offsets

    found: dict[tuple[str, int], int] = {}
    if not groups:
        return found
    with opened(bootstrap, command_config) as cluster:
        for group in groups:
            for place, committed in committed_offsets(cluster, group, stable=True).items():
                found[place] = min(committed.offset, found.get(place, committed.offset))
    return found


def before_ms_of(keep: str) -> int:
    """The moment that lies so long ago, in milliseconds since 1970."""
    from tallystick.clock import SystemClock

    matched = re.fullmatch(r"(\d+)(d|h|min)", keep)
    if matched is None:
        raise ConfigurationError(f"--keep {keep!r} is no length of time", remedy="For example 90d, 36h or 30min")
    return SystemClock().now_ms() - int(matched[1]) * _UNITS[matched[2]]


def day(milliseconds: int | None) -> str | None:
    """A moment as its date."""
    if milliseconds is None:
        return None
    return datetime.datetime.fromtimestamp(milliseconds / 1000, tz=datetime.UTC).date().isoformat()
