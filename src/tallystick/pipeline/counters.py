"""What a step has done since its process started, as numbers, and the file they are appended to.

Owns: ``Counters`` and ``StatsFile``. Must not know: why a number moved.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import msgspec

from tallystick.histogram import Histogram


@dataclass(slots=True)
class Counters:
    """Totals of one step in one process, or of one of its lanes. Written by one thread only."""

    records_in: int = 0
    """Records of batches that were finished (committed, under exactly-once)."""
    records_out: int = 0
    dead_letters: int = 0
    records_replayed: int = 0
    """Records polled again after an abort in this process."""
    commits: int = 0
    late_events: int = 0
    """Events that windows left out, or gave to a topic of their own, because they were closed."""
    duplicates: int = 0
    """Events that a step with ``deduplicate`` had processed before."""
    assignments: int = 0
    lost_assignments: int = 0
    lost_records: int = 0
    """Outputs given up under at-most-once."""
    aborts: Counter[str] = field(default_factory=Counter)
    """Aborted transactions, or rewound batches, by cause (rule 18)."""
    producers_discarded: Counter[str] = field(default_factory=Counter)
    """Producers replaced, by cause (rule 15)."""
    retries: Counter[str] = field(default_factory=Counter)
    """Calls made again inside a transaction, by action (rule 11)."""
    batches_took: Histogram = field(default_factory=Histogram)
    """From the begin of a batch to the answer of its commit; of those that were committed."""
    commits_took: Histogram = field(default_factory=Histogram)
    """The commit alone; under exactly-once, the flush of the outputs before it included."""
    positions: dict[tuple[str, int], int] = field(default_factory=dict)
    """Partition to the offset that is committed there: the one found at the assignment, then our own."""
    taken: dict[tuple[str, int], int] = field(default_factory=dict)
    """Partition to the offset after the last record that was in a batch, committed or not."""
    open_since_ms: int | None = None
    """Monotonic time when the open transaction began; None while none is open. Of several: the oldest."""

    @classmethod
    def total(cls, parts: Iterable[Counters]) -> Counters:
        """The sum, as of now; the parts may go on counting in their threads."""
        total = cls()
        for part in parts:
            for one in fields(cls):
                both = _earlier if one.name == "open_since_ms" else _added
                setattr(total, one.name, both(getattr(total, one.name), getattr(part, one.name)))
        return total

    def snapshot(self) -> dict[str, Any]:
        """The totals that are whole numbers, as plain values."""
        return {
            "records_in": self.records_in,
            "records_out": self.records_out,
            "dead_letters": self.dead_letters,
            "records_replayed": self.records_replayed,
            "commits": self.commits,
            "late_events": self.late_events,
            "duplicates": self.duplicates,
            "assignments": self.assignments,
            "lost_assignments": self.lost_assignments,
            "lost_records": self.lost_records,
            "aborts": dict(self.aborts),
            "producers_discarded": dict(self.producers_discarded),
            "retries": dict(self.retries),
        }


def _added(one: Any, other: Any) -> Any:
    match other:
        case Counter():
            return one + Counter(dict(other))  # a copy in one step: adding would iterate while it may grow
        case dict():
            later = dict(other)
            return one | {place: max(offset, one.get(place, offset)) for place, offset in later.items()}
        case _:
            return one + other


def _earlier(one: int | None, other: int | None) -> int | None:
    return other if one is None or (other is not None and other < one) else one


class StatsFile:
    """Appends snapshots as JSON lines; each line is one ``write``, so that a kill leaves whole lines."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def append(self, line: dict[str, Any]) -> None:
        os.write(self._descriptor, msgspec.json.encode(line) + b"\n")

    def close(self) -> None:
        os.close(self._descriptor)
