"""The verdict over all parts of a history, one after the other.

Owns: what is asked of each part and what of the whole, and which histories are kept as evidence. Must not know: how a
part was made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tallystick.pipeline import Guarantee
from tallystick.verify.oracle import History, Report, Seen, TopicView, judge, merged
from tallystick.verify.trial.outcome import Violation, forbidden, ruled_out

EVIDENCE_EVENTS_MAX: Final = 50_000
"""Histories of parts with violations are kept up to so many outputs; the first one always."""

Witness = Callable[[Violation, History, int], Violation]
"""Told by the shortest history; the number is that of the part that shows it."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """``evidence`` is the whole without its records, and the parts with violations."""

    report: Report
    violations: tuple[Violation, ...]
    evidence: History


def judged(
    place: str,
    whole: History,
    parts: Sequence[int],
    part: Callable[[int], History],
    *,
    guarantee: Guarantee,
    witness: Witness,
) -> Judgement:
    """``whole`` has what concerns no single key: ends, samples and states. ``part`` makes the history of one part."""
    reports = [judge(whole)]
    kept: list[History] = []
    told: dict[str, tuple[str, ...]] = {}
    for number in parts:
        history = part(number)
        report = judge(history)
        reports.append(report)
        found = ruled_out(place, report, guarantee)
        for one in found:
            if one.checker not in told:
                told[one.checker] = witness(one, history, number).witness
        if found and (not kept or sum(len(one.expected) for one in (*kept, history)) <= EVIDENCE_EVENTS_MAX):
            kept.append(history)
    report = merged(reports)
    violations = tuple(
        replace(one, witness=told.get(one.checker, one.examples)) for one in forbidden(place, report, guarantee)
    )
    return Judgement(report, violations, united(whole, kept))


def united(whole: History, parts: Sequence[History]) -> History:
    """One history out of parts, with what ``whole`` knows of all of them."""
    return replace(
        whole,
        expected=tuple(output for part in parts for output in part.expected),
        views=tuple(_joined(view, [part.views[at] for part in parts]) for at, view in enumerate(whole.views)),
        earlier=tuple(_joined(view, [part.earlier[at] for part in parts]) for at, view in enumerate(whole.earlier)),
        rows=tuple(row for part in parts for row in part.rows),
    )


def _joined(whole: TopicView, parts: Sequence[TopicView]) -> TopicView:
    def ordered(records: list[Seen]) -> tuple[Seen, ...]:
        return tuple(sorted(records, key=lambda record: record.position))

    return replace(
        whole,
        committed=ordered([record for part in parts for record in part.committed]),
        uncommitted=ordered([record for part in parts for record in part.uncommitted]),
    )
