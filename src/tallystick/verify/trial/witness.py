"""The shortest history that shows a violation.

Found by delta debugging (Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input", 2002): the events
are halved again and again, as long as the same checker still objects to what is left. What remains is told as lines:
where the inputs lie, what was seen of them, and what was broken at that time.
Owns: the search and the text. Must not know: the checkers' own logic; it only asks them again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

from tallystick.verify.oracle import History, Position, Seen, TopicView, judge
from tallystick.verify.timeline import Moment
from tallystick.verify.trial.outcome import Violation

NEAR_MS: Final = 3_000
"""What was broken so long before an output was seen belongs to its history."""
MOMENTS_SHOWN: Final = 12
_OF_NO_EVENT: Final = frozenset({"open", "stuck", "state"})
"""What these find lies in partitions and keys, not in events."""
_ROUNDS_MAX: Final = 200
_LINES_MAX: Final = 60


def shortest(
    found: Violation, history: History, moments: Sequence[Moment], seen_at_ms: Mapping[Position, int]
) -> Violation:
    """The same violation, with the lines of its shortest history. One that no events show keeps its examples."""
    groups = list(dict.fromkeys(_subjects(history)))
    if found.checker in _OF_NO_EVENT or not _objects(found.checker, history, groups):
        return replace(found, witness=found.examples)
    fewest = _reduced(found.checker, history, groups)
    return replace(found, witness=tuple(_told(_restricted(history, fewest), moments, seen_at_ms)))


def reduced(checker: str, history: History) -> History:
    """The part of a history to which ``checker`` still objects, with nothing in it that could be left out."""
    groups = list(dict.fromkeys(_subjects(history)))
    return _restricted(history, _reduced(checker, history, groups))


def _reduced(checker: str, history: History, groups: list[str]) -> list[str]:
    parts = 2
    for _ in range(_ROUNDS_MAX):
        if len(groups) < 2:
            break
        size = -(-len(groups) // parts)
        pieces = [groups[at : at + size] for at in range(0, len(groups), size)]
        smaller = next((piece for piece in pieces if _objects(checker, history, piece)), None)
        if smaller is not None:
            groups, parts = smaller, 2
            continue
        for piece in pieces:
            left_out = set(piece)
            rest = [group for group in groups if group not in left_out]
            if len(pieces) > 2 and _objects(checker, history, rest):
                groups, parts = rest, max(parts - 1, 2)
                break
        else:
            if parts >= len(groups):
                break
            parts = min(parts * 2, len(groups))
    return groups


def _subjects(history: History) -> list[str]:
    """What may be left out: the groups of outputs, sorted so that those of one key lie together; and strangers."""
    known = {(output.topic, output.identity) for output in history.expected}
    ordered = sorted(history.expected, key=lambda output: (output.key or b"", output.sequence))
    strangers = [
        record.identity
        for view in history.views
        for record in view.committed
        if (record.topic, record.identity) not in known
    ]
    return [output.group for output in ordered] + strangers


def _objects(checker: str, history: History, groups: Collection[str]) -> bool:
    part = _restricted(history, groups)
    return any(finding.checker == checker and finding.count for finding in judge(part).findings)


def _restricted(history: History, groups: Collection[str]) -> History:
    wanted = set(groups)
    group_of = {(output.topic, output.identity): output.group for output in history.expected}

    def kept(records: Sequence[Seen]) -> tuple[Seen, ...]:
        return tuple(
            record for record in records if group_of.get((record.topic, record.identity), record.identity) in wanted
        )

    def view(whole: TopicView) -> TopicView:
        return replace(whole, committed=kept(whole.committed), uncommitted=kept(whole.uncommitted))

    return replace(
        history,
        expected=tuple(output for output in history.expected if output.group in wanted),
        views=tuple(view(whole) for whole in history.views),
        earlier=tuple(view(whole) for whole in history.earlier),
        rows=kept(history.rows),
    )


def _told(part: History, moments: Sequence[Moment], seen_at_ms: Mapping[Position, int]) -> list[str]:
    lines: list[str] = []
    times: list[int] = []
    for group in dict.fromkeys(output.group for output in part.expected):
        outputs = [output for output in part.expected if output.group == group]
        source = outputs[0].source
        lines.append(f"event {group}" + (f", read from {source}" if source is not None else ""))
        lines += [f"  is owed as {output.identity} in {output.topic}" for output in outputs]
    visible = {record.position for view in part.views for record in view.committed}
    shown = sorted(
        {record.position: record for view in part.views for record in (*view.committed, *view.uncommitted)}.values(),
        key=lambda record: record.position,
    )
    for record in shown:
        at_ms = seen_at_ms.get(record.position)
        when = "" if at_ms is None else f", first read {at_ms / 1000:.3f} s after the start"
        times += [] if at_ms is None else [at_ms]
        state = "visible" if record.position in visible else "not visible (aborted)"
        lines.append(f"  {record.identity} at {record.position} is {state}{when}")
    lines += [f"  {row.identity} is row {row.position.offset} of {row.topic}" for row in part.rows]
    if part.next_offsets is not None:
        sources = {(output.source.topic, output.source.partition) for output in part.expected if output.source}
        for topic, partition in sorted(sources):
            offset = part.next_offsets.get((topic, partition))
            lines.append(f"  the group's offset of {topic}-{partition} is {'none' if offset is None else offset}")
    if times:
        near = [
            one for one in moments if one.at_ms <= max(times) and (one.until_ms or one.at_ms) >= min(times) - NEAR_MS
        ]
        lines += [f"  {one}" for one in near[-MOMENTS_SHOWN:]]
    return lines[:_LINES_MAX]
