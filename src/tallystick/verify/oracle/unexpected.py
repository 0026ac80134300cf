"""Invariants: nothing is visible that no input explains, and no value differs from what its input demands."""

from __future__ import annotations

from collections.abc import Sequence

from tallystick.verify.oracle.findings import Finding
from tallystick.verify.oracle.history import Expected, Seen


def check_unexpected(expected: Sequence[Expected], seen: Sequence[Seen]) -> Finding:
    """Counts the records whose identity nobody expects in that topic."""
    explained = {(output.topic, output.identity) for output in expected}
    return Finding.of(
        "unexpected",
        (
            f"{record.identity} at {record.position}"
            for record in seen
            if (record.topic, record.identity) not in explained
        ),
    )


def check_altered(expected: Sequence[Expected], seen: Sequence[Seen]) -> Finding:
    """Counts the records whose identity is expected, but with another key or another value."""
    demanded = {(output.topic, output.identity): output for output in expected}
    return Finding.of(
        "altered",
        (
            f"{record.identity} at {record.position} has another key or value"
            for record in seen
            if (output := demanded.get((record.topic, record.identity))) is not None
            and (record.key != output.key or output.body_hash not in (None, record.body_hash))
        ),
    )
