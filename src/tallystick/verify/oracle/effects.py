"""Invariant: the rows outside Kafka and the outputs inside it tell of the same events, each of them once.

``lost`` and ``repeated`` judge rows and records alone; this one compares the two sides of the boundary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from tallystick.verify.oracle.findings import Finding
from tallystick.verify.oracle.history import Expected, Seen


def check(expected: Sequence[Expected], seen: Sequence[Seen], rows: Sequence[Seen]) -> Finding:
    """Counts the events of which there is a row without the outputs, outputs without a row, or another number."""
    return Finding.of("effects", _differences(expected, seen, rows))


def _differences(expected: Sequence[Expected], seen: Sequence[Seen], rows: Sequence[Seen]) -> Iterator[str]:
    places = {row.topic for row in rows} | {output.topic for output in expected if ":" in output.topic}
    if not places:
        return
    counted = Counter((row.topic, row.identity) for row in rows)
    visible = {(record.topic, record.identity) for record in seen}
    outputs: dict[str, list[bool]] = {}
    for output in expected:
        if output.topic not in places:
            outputs.setdefault(output.group, []).append((output.topic, output.identity) in visible)
    for output in expected:
        if output.topic in places and output.group in outputs:
            count, shown = counted[output.topic, output.identity], any(outputs[output.group])
            if (count > 0) != shown or count > 1:
                kafka = "is" if shown else "is not"
                yield f"{output.group} has {count} rows in {output.topic}, and {kafka} visible in Kafka"
