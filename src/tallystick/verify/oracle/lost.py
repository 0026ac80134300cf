"""Invariant: every expected output is visible at least once."""

from __future__ import annotations

from collections.abc import Sequence

from tallystick.verify.oracle.findings import Finding
from tallystick.verify.oracle.history import Expected, Seen


def check(expected: Sequence[Expected], seen: Sequence[Seen]) -> Finding:
    """Counts the expected outputs that nobody can see."""
    visible = {(record.topic, record.identity) for record in seen}
    return Finding.of(
        "lost",
        (
            f"{output.identity} of {output.source or output.group} is not in {output.topic}"
            for output in expected
            if (output.topic, output.identity) not in visible
        ),
    )
