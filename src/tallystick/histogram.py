"""How long things took, in plain numbers.

Owns: buckets, count and sum. Must not know: what took so long, who reads it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Final, Self

BOUNDS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Histogram:
    """One observation is one search among fifteen numbers and two additions. Written by one thread only."""

    __slots__ = ("_counts", "sum_s")

    def __init__(self, counts: Sequence[int] = (), sum_s: float = 0.0) -> None:
        self._counts = list(counts) or [0] * (len(BOUNDS_S) + 1)
        self.sum_s = sum_s

    @property
    def counts(self) -> tuple[int, ...]:
        """How many fell between each bound and the one before it; the last: how many took longer than all."""
        return tuple(self._counts)

    def observe(self, took_s: float) -> None:
        self._counts[bisect_left(BOUNDS_S, took_s)] += 1
        self.sum_s += took_s

    def buckets(self) -> list[tuple[str, float]]:
        """Prometheus' buckets: upper bound in seconds, and how many took no longer."""
        names = [*map(str, BOUNDS_S), "+Inf"]
        return [(name, float(count)) for name, count in zip(names, accumulate(self._counts), strict=True)]

    def __add__(self, other: Self) -> Histogram:
        """Both together, as a new one."""
        counts = [mine + others for mine, others in zip(self._counts, other.counts, strict=True)]
        return Histogram(counts, self.sum_s + other.sum_s)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and (self.counts, self.sum_s) == (other.counts, other.sum_s)

    __hash__ = None  # type: ignore[assignment]  # it changes
