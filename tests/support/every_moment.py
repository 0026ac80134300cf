"""Copies of a log's folder at each change of the disk, as a kill and as power losses leave it.

Owns: when a copy is made, and what the next start is told of the machine. Must not know: what is done to the log.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from tests.support.disk_trace import Change, PowerLoss, copy_after_kill

from tallystick.broker.log.boots import Boots

AFTER_POWER_LOSS: Final = Boots(present=b"\1" * 16, previous=b"\2" * 16)


class Moment(NamedTuple):
    """A copy, what a start on it knows of the machine (None: it runs since), and a word for who reads a failure."""

    folder: Path
    boots: Boots | None
    during: str


class EveryMoment:
    """``made`` grows while ``listening``: one copy for a kill, and one for each seed of a power loss."""

    def __init__(self, folder: Path, copies: Path, *, power_losses: int) -> None:
        self.folder, self.copies = folder, copies
        self.power = PowerLoss(folder)
        self.made: list[Moment] = []
        self.listening = False
        self._power_losses = power_losses
        copies.mkdir()

    def on_change(self, change: Change) -> None:
        if self.listening:
            self.copy(f"before {change.call} {change.path.name}")
        self.power.on_change(change)

    def copy(self, during: str) -> None:
        to = self._next()
        copy_after_kill(self.folder, to)
        self.made.append(Moment(to, None, f"{during}, killed"))
        for seed in range(self._power_losses):
            to = self._next()
            self.power.copy(to, seed=seed)
            self.made.append(Moment(to, AFTER_POWER_LOSS, f"{during}, power lost, seed {seed}"))

    def _next(self) -> Path:
        return self.copies / str(len(self.made))
