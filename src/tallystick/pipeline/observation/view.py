"""What a worker says of itself, as a value and as a file.

Owns: ``StepView``, ``View`` and the file. Must not know: Prometheus, who reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import msgspec

from tallystick.histogram import Histogram
from tallystick.pipeline.counters import Counters

Lag = Mapping[tuple[str, int], int | None]
"""Owned partition to its lag, None where it is not known yet."""


class Took(msgspec.Struct, frozen=True):
    """A histogram as plain values: see ``Histogram.counts``."""

    counts: tuple[int, ...]
    sum_s: float

    @classmethod
    def of(cls, histogram: Histogram) -> Self:
        return cls(histogram.counts, histogram.sum_s)

    def histogram(self) -> Histogram:
        return Histogram(self.counts, self.sum_s)


class StepView(msgspec.Struct, frozen=True, kw_only=True):
    """One step of one worker, as of now.

    ``totals`` are ``Counters.snapshot()``. ``lag`` is, for each owned partition ``topic-number``, how many offsets lie
    between what this process committed and the last stable offset; absent where that is not known yet. Ages are in
    seconds; ``turn_age_s`` is how long ago the step polled last. ``turn_limit_s`` is ``max.poll.interval.ms``: a step
    that is busy for longer loses its partitions. ``restoring`` is how many offsets of changelogs are read, and of how
    many, in partitions that wait for their state; None while none does.
    """

    step: str
    totals: dict[str, Any]
    batches_took: Took
    commits_took: Took
    lag: dict[str, int]
    partitions: int
    turn_age_s: float
    turn_limit_s: float
    open_transaction_age_s: float | None = None
    restoring: tuple[int, int] | None = None

    @classmethod
    def of(
        cls,
        step: str,
        counters: Counters,
        *,
        now_ms: int,
        turn_ms: int,
        turn_limit_ms: int,
        lag: Lag,
        restoring: tuple[int, int] | None = None,
    ) -> Self:
        """Made of counters and of monotonic times in milliseconds."""
        since_ms = counters.open_since_ms
        return cls(
            step=step,
            totals=counters.snapshot(),
            batches_took=Took.of(counters.batches_took),
            commits_took=Took.of(counters.commits_took),
            lag={f"{topic}-{number}": behind for (topic, number), behind in lag.items() if behind is not None},
            partitions=len(lag),
            turn_age_s=max(0, now_ms - turn_ms) / 1000,
            turn_limit_s=turn_limit_ms / 1000,
            open_transaction_age_s=None if since_ms is None else max(0, now_ms - since_ms) / 1000,
            restoring=restoring,
        )


class View(msgspec.Struct, frozen=True, kw_only=True):
    """One worker, as of ``at_ms`` (milliseconds since the epoch)."""

    slot: str
    pid: int
    at_ms: int
    started_at_ms: int
    guarantee: str
    steps: tuple[StepView, ...]


class ViewFile:
    """``SLOT.view.json``: replaced as a whole, so that a reader or a kill never meets half of it."""

    def __init__(self, folder: Path, slot: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = path_of(folder, slot)
        self._new = self._path.with_suffix(".new")

    def write(self, view: View) -> None:
        self._new.write_bytes(msgspec.json.encode(view))
        self._new.replace(self._path)


def path_of(folder: Path, slot: str) -> Path:
    return folder / f"{slot}.view.json"


def read_view(folder: Path, slot: str) -> View | None:
    """The last view of a worker; None if there is none, or it is one that this version cannot read."""
    try:
        return msgspec.json.decode(path_of(folder, slot).read_bytes(), type=View)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
