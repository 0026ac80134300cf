"""The table on the terminal, and the bar while a trial runs.

Owns: the console. Must not know: what the numbers mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tallystick.verify.trial.outcome import Outcome, Verdict
from tallystick.verify.trial.trial import Progress as Step
from tallystick.verify.trial.trial import Report

_STYLES: Final = {Verdict.HELD: "green", Verdict.PARTIAL: "bold yellow", Verdict.NOT_HELD: "bold red"}


@contextmanager
def bar(console: Console, title: str, duration_s: float) -> Iterator[Report]:
    """A bar over the time of the faults, then the phase by its name."""
    with Progress(
        TextColumn("  {task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
        console=console,
    ) as progress:
        task = progress.add_task(escape(title), total=duration_s, state="starting")

        def report(step: Step) -> None:
            behind = "" if step.remaining is None else f", {step.remaining:,} to go"
            broken = f", [red]{' '.join(step.broken)}[/red]" if step.broken else ""
            under_faults = step.phase == "under faults"
            progress.update(
                task,
                completed=step.elapsed_s if under_faults else duration_s,
                state=f"{step.phase}: {step.sent:,} sent{behind}{broken}",
            )

        yield report


def summary(console: Console, outcomes: Sequence[Outcome]) -> None:
    """One row for each guarantee, the faults, and each violation with its shortest history."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("guarantee", no_wrap=True)
    for heading in ("events", "owed", "right", "lost", "repeated", "aborted", "verdict"):
        table.add_column(heading, justify="right", no_wrap=True)
    for outcome in outcomes:
        outputs = outcome.outputs
        table.add_row(
            outcome.settings.guarantee.value,
            f"{outcome.events:,}",
            f"{outputs.expected:,}",
            f"{outputs.right:,}",
            f"{outputs.lost:,}",
            f"{outputs.repeated:,}",
            f"{outputs.aborted_records:,}",
            f"[{_STYLES[outcome.verdict]}]{outcome.verdict.value}[/]",
        )
    console.print(table)
    for outcome in outcomes:
        _details(console, outcome)


def _details(console: Console, outcome: Outcome) -> None:
    struck = ", ".join(f"{name} {count}x" for name, count in sorted(outcome.struck.items())) or "none"
    console.print(f"  {outcome.settings.guarantee.value}, seed {outcome.settings.seed}, on {outcome.site}")
    console.print(f"    faults: {struck}", soft_wrap=True)
    if outcome.zombies_fenced:
        console.print(f"    zombies that woke up and were fenced: {outcome.zombies_fenced}")
    if outcome.missed:
        missed = escape(", ".join(outcome.missed))
        console.print(f"    [yellow]asked for, and never struck: {missed}[/yellow]", soft_wrap=True)
        console.print("    give it a longer --duration, a shorter --every, or fewer --faults")
    for note in outcome.notes:
        console.print(f"    [yellow]{escape(note)}[/yellow]", soft_wrap=True)
    for found in outcome.violations:
        console.print(f"    [bold red]{found.place}: {found.checker}: {found.count:,}[/bold red]")
        for line in found.witness or found.examples:
            console.print(f"      {escape(line)}", soft_wrap=True)
