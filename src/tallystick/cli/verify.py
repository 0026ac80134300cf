"""``tallystick verify``: a workload under kills against any cluster, judged by the oracle.

Owns: the command's options and what is printed. Must not know: how the run is made.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Annotated

import typer

from tallystick.errors import ConfigurationError
from tallystick.pipeline import Guarantee
from tallystick.verify.workloads import Shape


def verify(
    bootstrap: Annotated[str, typer.Option(help="The cluster, host:port.")],
    folder: Annotated[Path, typer.Option(help="Logs, statistics and report.json go in here.")],
    shape: Annotated[Shape, typer.Option(help="What the workload does with an event.")] = Shape.FAN_OUT,
    guarantee: Annotated[Guarantee, typer.Option(help="How it is to be counted.")] = Guarantee.EXACTLY_ONCE,
    at: Annotated[
        list[str] | None, typer.Option(help="Kill point and visit, such as cycle.before-commit:3. May be repeated.")
    ] = None,
    random_kills: Annotated[int, typer.Option(min=0, help="Kills of workers at moments that the seed decides.")] = 0,
    events: Annotated[int, typer.Option(min=100, help="Events of the workload.")] = 2_000,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes. Kill points are hit in the first.")] = 1,
    seed: Annotated[int, typer.Option(help="Decides the events and the random kills.")] = 1,
    database: Annotated[str | None, typer.Option(help="Database URL, for the shape sql-count.")] = None,
) -> None:
    """Run a workload of known outputs, kill -9 its workers, and say what was lost, repeated, reordered or torn.

    The exit code is 0 only if every kill hit and exactly-once held; for the other guarantees, only if every kill hit.
    """
    from tallystick.verify.kill_run import KillRun
    from tallystick.verify.kills import at_point, at_random
    from tallystick.verify.workloads import WorkloadSettings

    kills = tuple(at_point(*_parsed(text)) for text in at or ())
    report = KillRun(
        bootstrap=bootstrap,
        settings=WorkloadSettings(
            name=f"verify-{uuid.uuid4().hex[:10]}", shape=shape, guarantee=guarantee, database_url=database
        ),
        folder=folder.resolve(),
        events=events,
        workers=workers,
        seed=seed,
        kills=kills + at_random(seed=seed, count=random_kills, events=events, slots=workers),
        on_kill=lambda found: typer.echo(f"killed: {found.kill.name}, {found.remaining} events to go"),
    ).run()
    typer.echo(str(report))
    typer.echo(f"all numbers: {folder / 'report.json'}")
    held = report.passed if guarantee is Guarantee.EXACTLY_ONCE else not report.missed
    raise typer.Exit(0 if held else 1)


def _parsed(text: str) -> tuple[str, int]:
    point, _, visit = text.partition(":")
    if not point or not (visit or "1").isdecimal():
        raise ConfigurationError(f"{text!r} is not a kill point and a visit, such as cycle.before-commit:3")
    return point, int(visit or "1")
