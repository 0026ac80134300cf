"""``tallystick trace``: one event, wherever it went, on one timeline."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated

import typer

from tallystick.cli.operate.options import AsJson, Bootstrap, CommandConfig, opened
from tallystick.cli.operate.screen import show


def trace(
    event_id: Annotated[str, typer.Argument(help="The id, as the header tallystick-event-id has it.")],
    topic: Annotated[
        list[str] | None, typer.Option(help="Look in this topic; in all of them without. May be repeated.")
    ] = None,
    step: Annotated[
        list[str] | None, typer.Option(help="A step whose outputs are looked for, beside those of the groups.")
    ] = None,
    database: Annotated[str | None, typer.Option(help="Database URL: inbox, outbox, attempts at a provider.")] = None,
    settlement: Annotated[Path | None, typer.Option(help="A provider's settlement file, CSV.")] = None,
    bootstrap: Bootstrap = None,
    command_config: CommandConfig = None,
    as_json: AsJson = False,
) -> None:
    """Show what became of one event: its input record, the transactions, what was made of it, rows, attempts, money.

    It reads the logs of the topics from their beginning, as batches, so that aborted records are found as well.
    Outputs are found by their ids, which follow from the input's id, the step and a number.

    Exit code 1 if nothing is known of the event.
    """
    from tallystick.trace import settlement as settled
    from tallystick.trace.moment import in_order
    from tallystick.trace.topics import Index, moments, steps_of

    with opened(bootstrap, command_config) as cluster:
        names = topic or [one.name for one in cluster.topics().values() if not one.is_internal]
        index = Index.of(cluster, names)
        family = index.family(event_id, steps_of(cluster) | set(step or ()))
        found = list(moments(cluster, index, family))
    known_as = set(family)
    if database is not None:
        from tallystick.trace import rows

        in_sql, more = rows.moments(database, family)
        found += in_sql
        known_as |= more
    if settlement is not None:
        found += settled.moments(settlement, event_id, known_as)
    table = [(_time(one.at_ms), one.place, one.text, one.event_id) for one in in_order(found)]
    show(("Time", "Place", "What", "Event id"), table, as_json=as_json, empty=f"nothing is known of {event_id}")
    raise typer.Exit(0 if table else 1)


def _time(at_ms: int | None) -> str | None:
    if at_ms is None:
        return None
    return datetime.datetime.fromtimestamp(at_ms / 1000, tz=datetime.UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
