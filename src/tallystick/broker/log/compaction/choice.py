"""Which part of a log may be compacted now, and whether it is worth it.

Owns: the choice, by Apache Kafka's rules. Must not know: files, records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


class Chosen(Protocol):
    """What is asked of a segment."""

    base_offset: int
    next_offset: int
    size_bytes: int

    @property
    def largest_timestamp_ms(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactionRules:
    """What a topic says, under the names of its configurations."""

    min_cleanable_dirty_ratio: float
    min_compaction_lag_ms: int
    max_compaction_lag_ms: int
    delete_retention_ms: int
    segment_bytes: int


@dataclass(frozen=True, slots=True)
class Due:
    """The log before ``end`` is to be compacted; from ``first_dirty`` on it never was. The larger ratio comes first."""

    first_dirty: int
    end: int
    dirty_ratio: float


def due(
    segments: Sequence[Chosen],
    rules: CompactionRules,
    *,
    cleaned_offset: int,
    last_stable_offset: int,
    now_ms: int,
    first_timestamp_of: Callable[[int], int],
) -> Due | None:
    """What is to be compacted; None if nothing is. ``first_timestamp_of`` gets a segment's place."""
    first_dirty = max(cleaned_offset, segments[0].base_offset)
    count = 0
    clean_bytes = dirty_bytes = 0
    first_dirty_place = -1
    for place, segment in enumerate(segments[:-1]):
        is_dirty = segment.next_offset > first_dirty
        if is_dirty and not _may_be_compacted(segment, rules, last_stable_offset, now_ms):
            break
        if is_dirty:
            first_dirty_place = place if first_dirty_place < 0 else first_dirty_place
            dirty_bytes += segment.size_bytes
        else:
            clean_bytes += segment.size_bytes
        count = place + 1
    if dirty_bytes == 0:
        return None
    ratio = dirty_bytes / (clean_bytes + dirty_bytes)
    if ratio <= rules.min_cleanable_dirty_ratio:
        # A clock does not reach the longest lag: the time is looked up only where one is set.
        if rules.max_compaction_lag_ms > now_ms:
            return None
        if now_ms - first_timestamp_of(first_dirty_place) <= rules.max_compaction_lag_ms:
            return None
    return Due(first_dirty, segments[count - 1].next_offset, ratio)


def _may_be_compacted(segment: Chosen, rules: CompactionRules, last_stable_offset: int, now_ms: int) -> bool:
    if segment.next_offset > last_stable_offset:
        return False
    lag_ms = rules.min_compaction_lag_ms
    return lag_ms <= 0 or segment.largest_timestamp_ms <= now_ms - lag_ms
