"""Loops that do the same work in turns.

Owns: ``Entry``, ``Contest``, the rounds, and the table of medians. Must not know: what the work is.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.loops.job import Job, fill
from bench.speed.command import in_turn
from bench.speed.site import Site

Loop = Callable[[Job], None]


@dataclass(frozen=True, slots=True)
class Figure:
    """Of one round. The processor time is that of the loop's process: it says most on a machine that is in use."""

    records_per_s: float
    processor_us: float


Rounds = Mapping[str, Sequence[Figure]]
"""By loop."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A loop that does ``share`` of the contest's records: a slow one needs no more to show its rate.

    ``begins_anew`` is for a process of its own: a round that warms up would not.
    """

    title: str
    run: Loop
    share: float = 1.0
    begins_anew: bool = False


@dataclass(frozen=True, slots=True)
class Contest:
    """Loops that do ``records`` in transactions of ``batch_records``. The first one is what all are compared with."""

    title: str
    records: int
    batch_records: int
    entries: Sequence[Entry]

    def among(self, texts: Sequence[str]) -> Contest:
        """The first loop, and those whose title has one of the texts."""
        first, *others = self.entries
        chosen = [entry for entry in others if any(text in entry.title for text in texts)]
        return replace(self, entries=[first, *chosen])

    def run(self, site: Site, rounds: int) -> Rounds:
        """Each loop once a round; before the first, a round that is not counted."""
        source = fill(site, self.records)
        figures: dict[str, list[Figure]] = {entry.title: [] for entry in self.entries}
        for number in range(-1, rounds):
            for entry in in_turn(self.entries, number):
                if number < 0 and entry.begins_anew:
                    continue
                with site.topic() as target:
                    job = Job(site.bootstrap, source, target, int(self.records * entry.share), self.batch_records)
                    entry.run(job)
                if number >= 0:
                    figures[entry.title].append(Figure(job.records_per_s, job.processor_us))
        return figures

    def table(self, figures: Rounds, against: Sequence[str] = ()) -> str:
        """Medians, and their ratio to that of the first loop and of those ``against`` that are there."""
        medians = {title: statistics.median(one.records_per_s for one in values) for title, values in figures.items()}
        bases = [next(iter(medians)), *(title for title in against if title in medians)]
        heads = [
            self.title,
            "transactions/s",
            "records/s",
            "processor µs a record",
            *(f"to {title}" for title in bases),
        ]
        lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
        for title, value in medians.items():
            cost_us = statistics.median(one.processor_us for one in figures[title])
            ratios = [f"{value / medians[base]:.2f}" for base in bases]
            cells = [title, f"{value / self.batch_records:,.0f}", f"{value:,.0f}", f"{cost_us:.2f}", *ratios]
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines)

    def rows(self, figures: Rounds) -> Iterator[Mapping[str, Any]]:
        for title, values in figures.items():
            rates, costs = [one.records_per_s for one in values], [one.processor_us for one in values]
            yield {"contest": self.title, "loop": title, "records_per_s": rates, "processor_us": costs}
