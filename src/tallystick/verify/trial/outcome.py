"""What a trial found: the oracle's reports, what was broken meanwhile, and whether the guarantee held.

Owns: which findings each guarantee allows. Must not know: how they were found.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from tallystick.pipeline import Guarantee
from tallystick.verify.oracle import Finding, History, Report
from tallystick.verify.timeline import Moment
from tallystick.verify.trial.settings import TrialSettings
from tallystick.verify.workloads import WorkloadSettings

_AFTER_LOSS: Final = frozenset({"lost", "torn", "torn-from-offsets", "effects", "state"})
_AFTER_REPETITION: Final = frozenset({"repeated", "effects", "state"})
ALLOWED: Final = {
    Guarantee.AT_MOST_ONCE: _AFTER_LOSS,
    Guarantee.AT_LEAST_ONCE: _AFTER_REPETITION,
    Guarantee.EXACTLY_ONCE: frozenset[str](),
}
"""What a guarantee does not promise: at-most-once may lose, at-least-once may repeat."""


class Verdict(StrEnum):
    """``partial``: nothing is wrong, and some of the faults that were asked for never struck."""

    HELD = "held"
    PARTIAL = "partial"
    NOT_HELD = "not held"


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that the guarantee forbids. ``place`` is ``inputs`` or ``outputs``, ``run`` for the run itself."""

    place: str
    checker: str
    count: int
    examples: tuple[str, ...]
    witness: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One trial. ``inputs`` judges what the producers sent, ``outputs`` what the application made of it.

    ``missed`` are faults that were asked for and never struck: such a run shows less than it was to show. The histories
    are evidence: the parts in which a violation is, and what was asked of the whole. ``notes`` are what the
    broker itself says that it did wrong; they change no verdict.
    """

    settings: TrialSettings
    site: str
    workload: WorkloadSettings
    inputs: Report
    outputs: Report
    input_history: History
    history: History
    violations: tuple[Violation, ...]
    moments: tuple[Moment, ...]
    struck: Counter[str]
    missed: tuple[str, ...]
    kills: int
    zombies_fenced: int
    own_ends: tuple[str, ...]
    events: int
    elapsed_ms: int
    versions: dict[str, str]
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return self.verdict is Verdict.HELD

    @property
    def verdict(self) -> Verdict:
        if self.violations:
            return Verdict.NOT_HELD
        return Verdict.PARTIAL if self.missed else Verdict.HELD

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {
            "passed": self.passed,
            "verdict": self.verdict.value,
            "settings": self.settings.to_json(),
            "site": self.site,
            "versions": self.versions,
            "events": self.events,
            "elapsed_ms": self.elapsed_ms,
            "faults": dict(self.struck),
            "missed": list(self.missed),
            "worker_kills": self.kills,
            "zombies_fenced": self.zombies_fenced,
            "workers_ended_on_their_own": len(self.own_ends),
            "notes": list(self.notes),
            "violations": [
                {
                    "place": found.place,
                    "checker": found.checker,
                    "count": found.count,
                    "examples": list(found.examples),
                    "shortest_history": list(found.witness),
                }
                for found in self.violations
            ],
            "inputs": self.inputs.to_json(),
            "outputs": self.outputs.to_json(),
            "timeline": [
                {"at_ms": one.at_ms, "until_ms": one.until_ms, "lane": one.lane, "text": one.text}
                for one in self.moments
            ],
        }


def forbidden(place: str, report: Report, guarantee: Guarantee) -> list[Violation]:
    """The findings of a report that ``guarantee`` rules out; of nothing at all no guarantee is shown."""
    found = ruled_out(place, report, guarantee)
    if report.expected == 0:
        found.append(Violation("run", "nothing", 1, (f"no {place} were expected: nothing is shown",)))
    return found


def ruled_out(place: str, report: Report, guarantee: Guarantee) -> list[Violation]:
    """The same of a part, which may have nothing in it."""
    allowed = ALLOWED[guarantee]
    return [
        _violation(place, finding) for finding in report.findings if finding.count and finding.checker not in allowed
    ]


def _violation(place: str, finding: Finding) -> Violation:
    return Violation(place, finding.checker, finding.count, finding.examples)
