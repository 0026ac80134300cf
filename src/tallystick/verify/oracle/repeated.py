"""Invariant: no identity is visible twice in one topic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tallystick.verify.oracle.findings import Finding
from tallystick.verify.oracle.history import Seen


def check(seen: Sequence[Seen]) -> Finding:
    """Counts the surplus: a record seen three times counts two."""
    return Finding.of("repeated", _surplus(seen))


def _surplus(seen: Sequence[Seen]) -> Iterator[str]:
    first: dict[tuple[str, str], Seen] = {}
    for record in seen:
        earlier = first.setdefault((record.topic, record.identity), record)
        if earlier is not record:
            yield f"{record.identity} at {earlier.position} and again at {record.position}"
