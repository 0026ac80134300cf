"""``tallystick broker backup``: a copy of a data folder, while its broker runs or not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tallystick.cli.byte_progress import byte_progress


def backup(
    data: Annotated[Path, typer.Option(help="The data folder. A broker may be running on it.")],
    to: Annotated[Path, typer.Option(help="Where the copy goes: a folder that is empty or not there yet.")],
    verify: Annotated[bool, typer.Option(help="Check the copy as `tallystick broker check` does.")] = True,
) -> None:
    """Copy a data folder as it is at one moment, so that a broker can start on the copy."""
    from tallystick.broker.backup.copying import back_up
    from tallystick.broker.inspection import check_folder

    with byte_progress() as progress:
        task = progress.add_task("copying")
        done = back_up(
            data,
            to,
            on_total=lambda total: progress.update(task, total=total, completed=0),
            on_bytes=lambda more: progress.advance(task, more),
        )
        damaged = False
        if verify:
            task = progress.add_task("verifying")
            report = check_folder(
                to,
                on_total=lambda total: progress.update(task, total=total),
                on_bytes=lambda more: progress.advance(task, more),
            )
            damaged = report.is_damaged
    how = "while the broker runs" if done.online else "of a folder at rest"
    typer.echo(f"{to}: {done.files:,} files, {done.size_bytes:,} bytes, copied {how}")
    if damaged:
        typer.echo(f"The copy is damaged, and so is what it was made of: tallystick broker check {to}", err=True)
    raise typer.Exit(1 if damaged else 0)
