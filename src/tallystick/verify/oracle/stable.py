"""Invariant: no open transaction holds the last stable offset back for longer than a transaction may last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from tallystick.verify.oracle.findings import Finding
from tallystick.verify.oracle.history import StableSample

GAP_MS: Final = 5_000
"""Looks that are farther apart say nothing about the time between: the broker did not answer."""


def check(samples: Sequence[StableSample], limit_ms: int) -> Finding:
    """Counts the times at which a last stable offset stood still below the high watermark for over ``limit_ms``."""
    partitions: dict[tuple[str, int], list[StableSample]] = {}
    for sample in sorted(samples, key=lambda sample: sample.at_ms):
        partitions.setdefault((sample.topic, sample.partition), []).append(sample)
    return Finding.of("stuck", (text for looks in partitions.values() for text in _stuck(looks, limit_ms)))


def _stuck(looks: Sequence[StableSample], limit_ms: int) -> Iterator[str]:
    stuck_ms, told = 0, False
    for earlier, later in pairwise(looks):
        held = earlier.last_stable_offset < earlier.high_watermark
        if not held or later.last_stable_offset != earlier.last_stable_offset:
            stuck_ms, told = 0, False
            continue
        stuck_ms += later.at_ms - earlier.at_ms if later.at_ms - earlier.at_ms <= GAP_MS else 0
        if stuck_ms > limit_ms and not told:
            told = True
            yield (
                f"{later.topic}-{later.partition} stood at {later.last_stable_offset} of {later.high_watermark} "
                f"for {stuck_ms} ms, until {later.at_ms} ms"
            )
