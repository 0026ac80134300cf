"""Invariant: the outputs of one key first appear in the order of their inputs, all in one partition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tallystick.verify.oracle.findings import Finding
from tallystick.verify.oracle.history import Expected, Seen


def check(expected: Sequence[Expected], seen: Sequence[Seen]) -> Finding:
    """Counts the outputs that first appear behind a later one of their key, or in another partition than it.

    Only first appearances count: a repetition is the finding of ``repeated``, not a second time of this one.
    """
    return Finding.of("order", _inversions(expected, seen))


def _inversions(expected: Sequence[Expected], seen: Sequence[Seen]) -> Iterator[str]:
    outputs = {(output.topic, output.identity): output for output in expected}
    latest: dict[tuple[str, bytes | None], tuple[int, Seen]] = {}
    met: set[tuple[str, str]] = set()
    for record in sorted(seen, key=lambda record: record.position):
        name = (record.topic, record.identity)
        output = outputs.get(name)
        if output is None or name in met:
            continue
        met.add(name)
        last = latest.get((record.topic, output.key))
        if last is not None:
            last_sequence, last_record = last
            if record.position.partition != last_record.position.partition:
                yield f"key {output.key!r} at {last_record.position} and at {record.position}"
            elif output.sequence < last_sequence:
                yield f"{record.identity} at {record.position} comes after its successor at {last_record.position}"
                continue
        latest[record.topic, output.key] = (output.sequence, record)
