"""A reconciliation for a person to read, as rich tables.

Owns: how it looks. Must not know: how it is found. Nothing is left out because it is bad news.
"""

from __future__ import annotations

from typing import Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from tallystick.ledger.money import Money
from tallystick.reconciliation.reconcile import Reconciliation
from tallystick.reconciliation.totals import ControlTotal

SHOWN_BREAKS: Final = 20
_DIGEST_SHOWN: Final = 12


def render(result: Reconciliation) -> RenderableType:
    """Tables of control totals, controls and breaks, and the verdict."""
    return Group(_totals(result), _controls(result), _breaks(result), _verdict(result))


def print_report(result: Reconciliation, console: Console) -> None:
    """Print ``render`` on ``console``."""
    console.print(render(result))


def _totals(result: Reconciliation) -> Table:
    table = Table(title="Control totals", title_justify="left")
    table.add_column("stage")
    table.add_column("count", justify="right")
    table.add_column("sum", justify="right")
    table.add_column("digest of ids")
    for total in (*result.totals, result.certificate.matched):
        table.add_row(total.stage, f"{total.count:,}", _sums(total), total.digest[:_DIGEST_SHOWN])
    return table


def _sums(total: ControlTotal) -> str:
    return "\n".join(str(Money(minor, currency)) for currency, minor in total.sums_minor)


def _controls(result: Reconciliation) -> Table:
    table = Table(title="Controls", title_justify="left")
    table.add_column("control")
    table.add_column("holds")
    for control in result.controls:
        if control.holds:
            table.add_row(control.name, Text("yes", style="green"))
        else:
            told = f"no\nexpected {control.expected}\n     found {control.actual}"
            table.add_row(control.name, Text(told, style="red"))
    return table


def _breaks(result: Reconciliation) -> RenderableType:
    breaks = result.matching.breaks
    if not breaks:
        return Text("No breaks.", style="green")
    table = Table(title=f"Breaks ({len(breaks)})", title_justify="left")
    table.add_column("type")
    table.add_column("at stake", justify="right")
    table.add_column("what")
    for one in breaks[:SHOWN_BREAKS]:
        members = " ".join(one.members)
        table.add_row(one.type.value, str(Money(one.value_minor, one.currency)), f"{one.detail}\n{members}")
    if len(breaks) > SHOWN_BREAKS:
        table.add_row("", "", f"and {len(breaks) - SHOWN_BREAKS} more, in the certificate")
    return table


def _verdict(result: Reconciliation) -> Text:
    certificate = result.certificate
    style = "bold green" if certificate.status == "COMPLETE" else "bold red"
    digest = certificate.document()["digest"]
    return Text(f"{certificate.status} as of {certificate.as_of.isoformat()}, digest {digest}", style=style)
