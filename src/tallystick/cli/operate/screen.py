"""Rows on the screen or as JSON lines.

Owns: how a table and a duration look. Must not know: what the rows are about.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Final

import typer
from rich import box
from rich.console import Console
from rich.table import Table

Cell = str | int | None
_WIDE: Final = 100_000
_UNITS: Final = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000))


def show(columns: Sequence[str], rows: Sequence[Sequence[Cell]], *, as_json: bool, empty: str) -> None:
    """A table with numbers to the right, or a JSON object a line with the columns' names in snake case.

    ``empty`` is what a person reads when there are no rows. Into a pipe nothing is cut to the width of a screen.
    """
    if as_json:
        names = [column.lower().replace(" ", "_") for column in columns]
        for row in rows:
            typer.echo(json.dumps(dict(zip(names, row, strict=True))))
        return
    if not rows:
        typer.echo(empty, err=True)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        numeric = all(isinstance(row[index], int) or row[index] is None for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold", no_wrap=numeric)
    for row in rows:
        table.add_row(*(_text(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False).print(table)


def duration(milliseconds: int | None) -> str | None:
    """``90500`` is ``1 min 30 s``; two units at most."""
    if milliseconds is None:
        return None
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    parts, rest = [], milliseconds
    for unit, size in _UNITS:
        if rest >= size:
            parts.append(f"{rest // size} {unit}")
            rest %= size
    return " ".join(parts[:2])


def _text(cell: Cell) -> str:
    if cell is None:
        return "-"
    return f"{cell:,}" if isinstance(cell, int) else cell
