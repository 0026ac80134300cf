"""``tallystick demo guarantees``: the command's options. Must not know: how it is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def guarantees(
    bootstrap: Annotated[str | None, typer.Option(help="A Kafka that runs already, host:port.")] = None,
    events: Annotated[int, typer.Option(min=500, help="Events of the workload.")] = 2_000,
    seed: Annotated[int, typer.Option(help="Decides the events, and where and when workers die.")] = 1,
    folder: Annotated[Path | None, typer.Option(help="Keep logs and all numbers as JSON here; else nothing.")] = None,
) -> None:
    """Run one workload three times under the same kill -9s, and count what each guarantee loses and repeats.

    The exit code is 0 only if at-most-once lost and never repeated, at-least-once repeated and never lost, and
    exactly-once did neither.
    """
    from tallystick.demo.guarantees import GuaranteeOptions, run
    from tallystick.demo.screen import Screen

    options = GuaranteeOptions(
        bootstrap=bootstrap, events=events, seed=seed, folder=None if folder is None else folder.resolve()
    )
    raise typer.Exit(run(options, Screen()))
