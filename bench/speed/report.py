"""Figures as a Markdown table of medians and ratios, and as JSON with every round.

Must not know: how they were measured.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.speed.peers import TITLES
from bench.speed.runner import Figure


def table(figures: Mapping[Figure, list[float]], peers: Sequence[str]) -> str:
    """A row for each measure and unit; the first peer's median is divided by each other one's."""
    first, *others = peers
    titles = [TITLES[name] for name in peers] + [f"ratio to {TITLES[name]}" for name in others]
    lines = [f"| {' | '.join(['measure', *titles])} |", f"|{' --- |' * (1 + len(titles))}"]
    for what, unit in dict.fromkeys((what, unit) for what, unit, _ in figures):
        median = {name: statistics.median(figures[what, unit, name]) for name in peers if (what, unit, name) in figures}
        cells = [_number(median.get(name)) for name in peers]
        cells += [_ratio(median.get(first), median.get(name)) for name in others]
        lines.append(f"| {what}, {unit} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _ratio(ours: float | None, theirs: float | None) -> str:
    return f"{ours / theirs:.2f}" if ours is not None and theirs else ""


def machine() -> str:
    """What it ran on, in a line."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    processors = len(os.sched_getaffinity(0))
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{processors} processors ({model}), {memory_gib:.0f} GiB, {system}"


def as_json(figures: Mapping[Figure, list[float]]) -> str:
    rows = [
        {"measure": what, "unit": unit, "peer": name, "rounds": values}
        for (what, unit, name), values in figures.items()
    ]
    return json.dumps({"machine": machine(), "figures": rows}, indent=1)
