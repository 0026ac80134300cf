"""A bar on the terminal while workers restore keyed state.

Owns: how it looks, and when it is there. Must not know: who restores; it reads what the workers show of themselves.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tallystick.pipeline.observation.view import read_view

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_LOOK_S: Final = 0.5


@contextmanager
def restore_bar(folder: Path, slots: Sequence[str]) -> Iterator[None]:
    """Inside the ``with`` block, one line for each step that restores; none while none does."""
    ended = threading.Event()
    thread = threading.Thread(target=_show, args=(folder, slots, ended), name="restore-bar", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def restoring(folder: Path, slots: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Slot and step to changelog offsets read, of those to be read, where partitions wait for their state."""
    views = {slot: read_view(folder, slot) for slot in slots}
    return {
        f"{slot} {step.step}": step.restoring
        for slot, view in views.items()
        if view is not None
        for step in view.steps
        if step.restoring is not None
    }


def _show(folder: Path, slots: Sequence[str], ended: threading.Event) -> None:
    progress, tasks = _progress(), dict[str, "TaskID"]()
    try:
        while not ended.wait(_LOOK_S):
            found = restoring(folder, slots)
            if found and not tasks:
                progress.start()
            for name, (read, of) in found.items():
                if name not in tasks:
                    tasks[name] = progress.add_task(f"restoring state of {name}")
                progress.update(tasks[name], completed=read, total=max(of, 1))
            for name in tasks.keys() - found.keys():
                progress.remove_task(tasks.pop(name))
            if not tasks:
                progress.stop()
    finally:
        progress.stop()


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
