"""Where a contender runs, as ``tallystick verify --application`` says it in the environment, and at which work.

``bench.pipeline`` and ``bench.state`` run the same programs: there ``BENCH_WORK`` is "rate" or "count", and
transactions are larger.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

SESSION_TIMEOUT_MS = 8_000
"""For all contenders the same, so that a frozen process loses its partitions within a short run."""
BATCH_RECORDS = 100

LARGE_BATCHES = {"linger.ms": 5, "batch.size": 1_000_000, "queue.buffering.max.messages": 1_000_000}
"""As every loop over librdkafka has them where transactions are large."""

STEADY_FETCHES = {"fetch.queue.backoff.ms": 5}
"""librdkafka's 1000 holds a loop over it to about 125,000 records a second: it fetches nothing for a second whenever
100,000 messages wait."""


@dataclass(frozen=True)
class Place:
    bootstrap: str
    source: str
    sink: str
    group: str
    slot: str
    work: str
    batch_records: int

    @property
    def number(self) -> int:
        return int(self.slot.rpartition("-")[2])

    @property
    def is_large(self) -> bool:
        return self.batch_records > BATCH_RECORDS


def place() -> Place:
    names = ("BOOTSTRAP", "SOURCE", "SINK", "GROUP", "SLOT")
    return Place(
        *(os.environ[f"VERIFY_{name}"] for name in names),
        work=os.environ.get("BENCH_WORK", "copy"),
        batch_records=int(os.environ.get("BENCH_BATCH_RECORDS", BATCH_RECORDS)),
    )
