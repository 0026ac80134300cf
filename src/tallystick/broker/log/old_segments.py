"""Which segments of a log are old enough, or too much, to be kept (``cleanup.policy=delete``).

Owns: the choice, by Apache Kafka's rules. Must not know: files, partitions, when anybody looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Aged(Protocol):
    """What is asked of a segment. ``largest_timestamp_ms`` is its file's time if no record has one."""

    base_offset: int
    next_offset: int
    size_bytes: int

    @property
    def largest_timestamp_ms(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What a topic keeps. Negative bounds are none; without ``deletes`` only what lies before the start goes."""

    retention_ms: int
    retention_bytes: int
    deletes: bool


def count_old(
    segments: Sequence[Aged], keeps: Retention, *, now_ms: int, start_offset: int, high_watermark: int
) -> int:
    """How many of the first segments go. All of them may: the caller begins an empty one then.

    A segment goes by its newest record, and never before the segments in front of it. What is above the high watermark
    stays, and so does an empty last segment.
    """
    removable = 0
    for segment in segments:
        if segment.next_offset > high_watermark or segment.size_bytes == 0:
            break
        removable += 1
    count = _before_start(segments, start_offset)
    if keeps.deletes:
        count = max(count, _outdated(segments, keeps, now_ms), _too_much(segments, keeps))
    return min(count, removable)


def _before_start(segments: Sequence[Aged], start_offset: int) -> int:
    count = 0
    while count + 1 < len(segments) and segments[count + 1].base_offset <= start_offset:
        count += 1
    return count


def _outdated(segments: Sequence[Aged], keeps: Retention, now_ms: int) -> int:
    if keeps.retention_ms < 0:
        return 0
    count = 0
    while count < len(segments) and now_ms - segments[count].largest_timestamp_ms > keeps.retention_ms:
        count += 1
    return count


def _too_much(segments: Sequence[Aged], keeps: Retention) -> int:
    """As many as can go without less than ``retention_bytes`` being left."""
    spare = sum(segment.size_bytes for segment in segments) - keeps.retention_bytes
    if keeps.retention_bytes < 0:
        return 0
    count = 0
    while count < len(segments) and spare >= segments[count].size_bytes:
        spare -= segments[count].size_bytes
        count += 1
    return count
