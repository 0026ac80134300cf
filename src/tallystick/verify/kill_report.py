"""The result of a run with kills: what the oracle says, and what the kills hit.

Owns: the verdict over both. Must not know: how the run was made.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tallystick.pipeline import Guarantee
from tallystick.verify.kills import Evidence, Kill
from tallystick.verify.oracle import Report
from tallystick.verify.workloads import WorkloadSettings

_REPLAYED_AFTER: Final = frozenset(
    {
        "inbox.after-sql-commit",
        "cycle.after-process",
        "cycle.after-produce",
        "cycle.before-offsets",
        "cycle.after-offsets",
        "cycle.before-commit",
    }
)
"""Between the SQL commit and the Kafka commit: a replay must meet the inbox rows again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerTotals:
    """What all incarnations of all workers counted, as far as their last lines tell: a kill takes the rest along."""

    commits: int = 0
    records_replayed: int = 0
    aborts: dict[str, int]
    producers_discarded: dict[str, int]

    @classmethod
    def read(cls, stats_dir: Path) -> WorkerTotals:
        """Sum the last line of each step in each incarnation; a slot's file has all its incarnations."""
        numbers: Counter[str] = Counter()
        aborts: Counter[str] = Counter()
        discarded: Counter[str] = Counter()
        for path in sorted(stats_dir.glob("*.jsonl")):
            last: dict[tuple[int, str], dict[str, Any]] = {}
            for line in path.read_text().splitlines():
                entry = json.loads(line)
                last[entry["pid"], entry["step"]] = entry
            for entry in last.values():
                numbers.update({name: entry[name] for name in ("commits", "records_replayed")})
                aborts.update(entry["aborts"])
                discarded.update(entry["producers_discarded"])
        return cls(
            commits=numbers["commits"],
            records_replayed=numbers["records_replayed"],
            aborts=dict(aborts),
            producers_discarded=dict(discarded),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KillRunReport:
    """One run. ``inbox_replays`` counts inbox rows met again, None without SQL."""

    settings: WorkloadSettings
    seed: int
    workers: int
    planned: tuple[Kill, ...]
    evidence: tuple[Evidence, ...]
    oracle: Report
    inbox_replays: int | None
    totals: WorkerTotals
    unplanned_exits: tuple[str, ...]
    elapsed_ms: int

    @property
    def transactions_open_at_kill(self) -> int:
        return sum(found.transaction_open for found in self.evidence)

    @property
    def missed(self) -> tuple[str, ...]:
        """Why the run proves nothing; empty if every kill hit."""
        reasons = [reason for found in self.evidence if (reason := found.missed(self.settings.guarantee)) is not None]
        done = Counter(found.kill for found in self.evidence)
        reasons += [f"{kill.name}: never happened" for kill in (Counter(self.planned) - done).elements()]
        replaying = sum(kill.point in _REPLAYED_AFTER for kill in self.planned)
        if self.inbox_replays is not None and self.inbox_replays < replaying:
            reasons.append(f"{self.inbox_replays} inbox rows were met again after {replaying} kills that leave some")
        return tuple(reasons)

    @property
    def passed(self) -> bool:
        """Exactly-once only: every kill hit, nobody died of anything else, and the oracle finds nothing.

        The other guarantees are judged by their counts.
        """
        clean = not self.missed and not self.unplanned_exits
        return self.settings.guarantee is Guarantee.EXACTLY_ONCE and clean and self.oracle.passed

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {
            "workload": self.settings.name,
            "shape": self.settings.shape.value,
            "guarantee": self.settings.guarantee.value,
            "seed": self.seed,
            "workers": self.workers,
            "passed": self.passed,
            "missed": list(self.missed),
            "kills": [
                {
                    "kill": found.kill.name,
                    "logged": found.logged,
                    "remaining_records": found.remaining,
                    "open_partitions": found.open_partitions,
                    "offsets_pending": found.offsets_pending,
                    "ahead_rows": found.ahead_rows,
                }
                for found in self.evidence
            ],
            "transactions_open_at_kill": self.transactions_open_at_kill,
            "inbox_replays": self.inbox_replays,
            "commits": self.totals.commits,
            "records_replayed": self.totals.records_replayed,
            "aborts": self.totals.aborts,
            "producers_discarded": self.totals.producers_discarded,
            "unplanned_exits": list(self.unplanned_exits),
            "oracle": self.oracle.to_json(),
            "elapsed_ms": self.elapsed_ms,
        }

    def __str__(self) -> str:
        lines = [f"{self.settings.guarantee.value}, seed {self.seed}: {self.oracle}"]
        lines += [f"missed: {reason}" for reason in self.missed]
        lines += [f"ended on its own: {reason}" for reason in self.unplanned_exits]
        return "\n".join(lines)
