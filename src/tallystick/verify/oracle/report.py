"""The verdict over all invariants: one frozen report.

Owns: which checkers run, and the counts that a person reads. Must not know: how the history was made or read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tallystick.verify.oracle import effects, lost, order, repeated, stable, state, torn, unexpected, visibility
from tallystick.verify.oracle.findings import Finding
from tallystick.verify.oracle.history import Expected, History, Position, Seen, TopicView


@dataclass(frozen=True, slots=True)
class Report:
    """``right`` outputs of ``expected`` are visible exactly once; every finding is listed, also the clean ones."""

    expected: int
    seen: int
    right: int
    aborted_records: int
    findings: tuple[Finding, ...]

    def count(self, checker: str) -> int:
        """Violations found by one checker; ``KeyError`` for a checker that did not run."""
        for finding in self.findings:
            if finding.checker == checker:
                return finding.count
        raise KeyError(checker)

    @property
    def lost(self) -> int:
        return self.count("lost")

    @property
    def repeated(self) -> int:
        return self.count("repeated")

    @property
    def passed(self) -> bool:
        """Nothing at all is wrong, and there was something to be right about."""
        return self.expected > 0 and self.right == self.expected and all(found.passed for found in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {
            "passed": self.passed,
            "expected": self.expected,
            "seen": self.seen,
            "right": self.right,
            "aborted_records": self.aborted_records,
            "findings": {
                finding.checker: {"count": finding.count, "examples": list(finding.examples)}
                for finding in self.findings
            },
        }

    def __str__(self) -> str:
        lines = [f"{self.right} of {self.expected} outputs are right, {self.seen} seen"]
        for finding in self.findings:
            if not finding.passed:
                lines.append(f"{finding.checker}: {finding.count}")
                lines.extend(f"  {example}" for example in finding.examples)
        return "\n".join(lines)


def merged(reports: Sequence[Report]) -> Report:
    """One report over parts of a history that no invariant reaches across. ``ValueError`` for none at all."""
    if not reports:
        raise ValueError("no report to merge")
    findings: dict[str, Finding] = {}
    for found in (found for report in reports for found in report.findings):
        before = findings.get(found.checker)
        findings[found.checker] = found if before is None else before.plus(found)
    return Report(
        expected=sum(report.expected for report in reports),
        seen=sum(report.seen for report in reports),
        right=sum(report.right for report in reports),
        aborted_records=sum(report.aborted_records for report in reports),
        findings=tuple(findings.values()),
    )


def examine(
    expected: Sequence[Expected],
    views: Sequence[TopicView],
    *,
    rows: Sequence[Seen] = (),
    next_offsets: Mapping[tuple[str, int], int] | None = None,
    known_aborted: Collection[Position] = (),
    earlier: Sequence[TopicView] = (),
) -> Report:
    """Compare what must be there with what the views, and rows outside Kafka, show.

    ``ValueError`` if two expected outputs have one identity in one topic: then the question itself is wrong.
    """
    return judge(
        History(
            expected=tuple(expected),
            views=tuple(views),
            rows=tuple(rows),
            next_offsets=None if next_offsets is None else dict(next_offsets),
            known_aborted=frozenset(known_aborted),
            earlier=tuple(earlier),
        )
    )


def judge(history: History) -> Report:
    """All checkers over one history. ``ValueError`` as in ``examine``."""
    expected, views, earlier = history.expected, history.views, history.earlier
    named = Counter((output.topic, output.identity) for output in expected)
    if twins := [name for name, count in named.items() if count > 1]:
        raise ValueError(f"{len(twins)} outputs are expected twice, the first is {twins[0]}")
    seen = [*(record for view in views for record in view.committed), *history.rows]
    findings = [
        lost.check(expected, seen),
        repeated.check(seen),
        unexpected.check_unexpected(expected, seen),
        unexpected.check_altered(expected, seen),
        order.check(expected, seen),
        torn.check_groups(expected, seen),
        visibility.check_aborted_visible(history.known_aborted, views, earlier),
        visibility.check_vanished(earlier, views),
        visibility.check_open(views),
        stable.check(history.samples, history.stable_limit_ms),
        state.check(history.states),
        effects.check(expected, seen, history.rows),
    ]
    if history.next_offsets is not None:
        findings.append(torn.check_offsets(expected, seen, history.next_offsets))
    found = Counter((record.topic, record.identity) for record in seen)
    return Report(
        expected=len(expected),
        seen=len(seen),
        right=sum(1 for name in named if found[name] == 1),
        aborted_records=sum(len(view.aborted) for view in views),
        findings=tuple(findings),
    )
