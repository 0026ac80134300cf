"""What a run shows: headings, progress bars, and what was done to the system meanwhile.

Owns: the console. Must not know: what the numbers mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Advance = Callable[[int], None]
"""Sets a progress bar to an absolute number."""


class Screen:
    """One run's output. On a terminal bars move; in a log file each bar leaves its last line."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)

    def heading(self, text: str) -> None:
        """A step of the run begins."""
        self.console.print(f"\n[bold]{text}[/bold]")

    def say(self, text: str) -> None:
        """Something worth knowing."""
        self.console.print(f"  {text}")

    def fault(self, text: str) -> None:
        """Something was broken on purpose."""
        self.console.print(f"  [bold red]✗[/bold red] {text}")

    def recovered(self, text: str) -> None:
        """What was broken works again."""
        self.console.print(f"  [bold green]✓[/bold green] {text}")

    @contextmanager
    def bars(self, **totals: int) -> Iterator[dict[str, Advance]]:
        """One bar for each name, with its total; underscores in a name are shown as spaces."""
        with Progress(
            TextColumn("  {task.description:<28}"),
            BarColumn(bar_width=40),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
        ) as progress:
            tasks = {name: progress.add_task(name.replace("_", " "), total=total) for name, total in totals.items()}

            def advance(name: str) -> Advance:
                return lambda completed: progress.update(tasks[name], completed=completed)

            yield {name: advance(name) for name in tasks}
