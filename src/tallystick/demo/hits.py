"""What the kills of a run really hit, from what the killed left behind.

Owns: reading the kill log and the workers' counters. Must not know: how a kill was arranged.

A run whose kills missed proves nothing, so it fails: each expected kill point must stand in the log, and a worker that
dies at ``cycle.after-offsets`` leaves a transaction open, which the coordinator must have aborted.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tallystick.errors import FatalError


@dataclass(frozen=True, slots=True)
class Hits:
    """Kill points by name and how often each killed; what the workers counted, all incarnations together."""

    kill_points: tuple[tuple[str, int], ...]
    commits: int
    aborts: tuple[tuple[str, int], ...]

    def must_include(self, names: list[str]) -> None:
        """``FatalError`` if one of the kill points killed nobody."""
        missed = sorted(set(names) - dict(self.kill_points).keys())
        if missed:
            raise FatalError(f"these kills missed, so that this run proves nothing: {', '.join(missed)}")


class KillWatch:
    """Tells what was killed since it was last asked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._told = 0

    def new(self) -> list[str]:
        """Names of the kill points that killed since the last call."""
        names = [str(line["kill_point"]) for line in _lines(self.path)]
        told, self._told = self._told, len(names)
        return names[told:]


def read_hits(kill_log: Path, stats: Path) -> Hits:
    """Read the JSON lines of both; a missing file is an empty one."""
    kills: Counter[str] = Counter(str(line["kill_point"]) for line in _lines(kill_log))
    commits = 0
    aborts: Counter[str] = Counter()
    for path in sorted(stats.glob("*.jsonl")):
        last: dict[str, dict[str, object]] = {}
        for line in _lines(path):
            last[str(line.get("step"))] = line  # counters grow: the last line of a step holds its totals
        for counters in last.values():
            commits += int(str(counters.get("commits", 0)))
            causes = counters.get("aborts", {})
            if isinstance(causes, dict):
                aborts.update({str(cause): int(number) for cause, number in causes.items()})
    return Hits(tuple(sorted(kills.items())), commits, tuple(sorted(aborts.items())))


def _lines(path: Path) -> list[dict[str, object]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]
