"""Bars on the error stream for a command that works in named parts.

Owns: what the bars look like, and that there are none where nobody looks. Must not know: what the parts do.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from tallystick.errors import ConfigurationError


class PartBars:
    """``with PartBars(parts) as progress``: ``progress(part, done, of)`` moves its bar; ``of`` 0 is not known."""

    def __init__(self, parts: Sequence[str]) -> None:
        self._parts = parts

    def __enter__(self) -> Callable[[str, int, int], None]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self._bars.start()
        tasks = {part: self._bars.add_task(part, total=None) for part in self._parts}

        def progress(what: str, done: int, of: int) -> None:
            if what not in tasks:
                raise ConfigurationError(f"{what!r} is none of the parts {list(tasks)}")
            self._bars.update(tasks[what], advance=done, total=of or None)

        return progress

    def __exit__(self, *_: object) -> None:
        self._bars.stop()
