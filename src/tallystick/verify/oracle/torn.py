"""Invariants: what belongs together is visible together, and outputs agree with committed offsets.

A transaction is torn if ``read_committed`` shows a part of it. It shows in two ways: some outputs of a group without
the others, or outputs without the offset of their input (or the offset without the outputs).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from tallystick.verify.oracle.findings import Finding
from tallystick.verify.oracle.history import Expected, Seen


def check_groups(expected: Sequence[Expected], seen: Sequence[Seen]) -> Finding:
    """Counts the groups of which some, but not all, outputs are visible."""
    visible = {(record.topic, record.identity) for record in seen}
    members: dict[str, list[bool]] = defaultdict(list)
    for output in expected:
        members[output.group].append((output.topic, output.identity) in visible)
    return Finding.of(
        "torn",
        (
            f"{group}: {sum(flags)} of {len(flags)} outputs are visible"
            for group, flags in members.items()
            if any(flags) and not all(flags)
        ),
    )


def check_offsets(
    expected: Sequence[Expected], seen: Sequence[Seen], next_offsets: Mapping[tuple[str, int], int]
) -> Finding:
    """Counts the outputs that disagree with the group's committed offsets.

    ``next_offsets`` maps topic and partition of the inputs to the committed offset, which is the next one to read
    (Kafka's convention); a partition without a commit is absent. Exact only while nobody commits.
    """
    return Finding.of("torn-from-offsets", _disagreements(expected, seen, next_offsets))


def _disagreements(
    expected: Sequence[Expected], seen: Sequence[Seen], next_offsets: Mapping[tuple[str, int], int]
) -> Iterator[str]:
    visible = {(record.topic, record.identity) for record in seen}
    for output in expected:
        source = output.source
        if source is None:
            continue
        consumed = source.offset < next_offsets.get((source.topic, source.partition), 0)
        if consumed != ((output.topic, output.identity) in visible):
            state = "consumed, without its output" if consumed else "not consumed, but its output is visible:"
            yield f"{source} is {state} {output.identity}"
