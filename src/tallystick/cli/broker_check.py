"""``tallystick broker check``: verify a data folder and say what is in it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tallystick.cli.byte_progress import byte_progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from tallystick.broker.inspection import Report

_STYLES: Final = {"damage": "bold red", "mended": "yellow", "note": "cyan"}


def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The data folder of a broker that does not run.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Verify every batch, index, snapshot and journal of a data folder, and change nothing. Exit code 1: damage."""
    import msgspec
    from rich.console import Console

    from tallystick.broker.inspection import check_folder

    with byte_progress() as progress:
        task = progress.add_task("checking")
        report = check_folder(
            folder,
            on_total=lambda total: progress.update(task, total=total),
            on_bytes=lambda more: progress.advance(task, more),
        )
    if as_json:
        typer.echo(
            msgspec.json.encode({"damaged": report.is_damaged, **asdict(report), "folder": str(report.folder)}).decode()
        )
    else:
        _show(report, Console())
    raise typer.Exit(1 if report.is_damaged else 0)


def _show(report: Report, console: Console) -> None:
    for finding in report.findings:
        place = finding.file
        if finding.position >= 0:
            place += f", byte {finding.position}"
        if finding.offset >= 0:
            place += f", offset {finding.offset}"
        console.print(f"{finding.severity}", style=_STYLES[finding.severity], end="  ")
        console.print(f"{place}: {finding.text}", markup=False, highlight=False, soft_wrap=True)
    console.print(_table(report))
    if report.is_damaged:
        console.print("The folder is damaged: a broker may refuse to start on it.", style="bold red")
    elif report.findings:
        console.print("Nothing is lost. The next start puts in order what is left to do.")
    else:
        console.print("Everything in it is whole.")


def _table(report: Report) -> Table:
    from rich.table import Table

    table = Table("in the folder", "", title=str(report.folder), show_header=False)
    rows = [
        ("format version", f"{report.format_version}"),
        ("the last run ended", "in order" if report.ended_in_order else "by a kill, or the folder is a copy"),
        ("topics, partitions", f"{report.topics:,}, {report.partitions:,}"),
        ("segments, batches", f"{report.segments:,}, {report.batches:,}"),
        ("bytes of batches", f"{report.log_bytes:,}"),
        ("index rows, snapshots", f"{report.index_rows:,}, {report.snapshots:,}"),
        ("producers, aborted transactions", f"{report.producers:,}, {report.aborted_transactions:,}"),
        ("journal records", f"{report.journal_records:,}"),
        ("transactional ids, open transactions", f"{report.transactional_ids:,}, {report.open_transactions:,}"),
        ("groups, committed offsets", f"{report.groups:,}, {report.committed_offsets:,}"),
    ]
    for row in rows:
        table.add_row(*row)
    return table
