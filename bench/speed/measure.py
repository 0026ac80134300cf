"""What is measured: a name, and a function from a site to figures.

Owns: ``Measure`` and the sizes of records. Must not know: how often and in which order measures run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.speed.site import Site

Figures = Mapping[str, float]
"""By unit: ``{"records/s": 1_300_000.0}``."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large records are, and how many of them a measure moves."""

    title: str
    record_bytes: int
    records: int


@dataclass(frozen=True, slots=True)
class Measure:
    """``run`` on a site that other measures use too, or on one of its own if ``alone``; not on peers ``without``."""

    title: str
    run: Callable[[Site], Figures]
    alone: bool = False
    without: tuple[str, ...] = ()
