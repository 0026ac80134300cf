"""Where a contender runs, as ``tallystick verify --application`` says it in the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass

SESSION_TIMEOUT_MS = 8_000
"""For all contenders the same, so that a frozen process loses its partitions within a short run."""
BATCH_RECORDS = 100


@dataclass(frozen=True)
class Place:
    bootstrap: str
    source: str
    sink: str
    group: str
    slot: str

    @property
    def number(self) -> int:
        return int(self.slot.rpartition("-")[2])


def place() -> Place:
    names = ("BOOTSTRAP", "SOURCE", "SINK", "GROUP", "SLOT")
    return Place(*(os.environ[f"VERIFY_{name}"] for name in names))
