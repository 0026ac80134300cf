"""The port between a step's loop and its guarantee, and what every guarantee gets to work with.

Owns: ``Strategy`` and ``Parts``. Must not know: any of the three strategies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tallystick.clock import Clock
from tallystick.pipeline.batch import Batch
from tallystick.pipeline.counters import Counters
from tallystick.pipeline.kafka_client import Producer
from tallystick.pipeline.patience import Patience
from tallystick.pipeline.positions import Positions
from tallystick.pipeline.state import LaneState
from tallystick.pipeline.work import BatchWork


@dataclass(frozen=True, slots=True)
class Parts:
    """What a strategy works with; ``make_producer`` returns a new client each time."""

    positions: Positions
    make_producer: Callable[[], Producer]
    slot_holder: Callable[[], str | None]
    """Member id that holds this worker's ``group.instance.id`` in the group, None if nobody does."""
    work: BatchWork
    counters: Counters
    clock: Clock
    patience: Patience
    transaction_timeout_ms: int
    state: LaneState | None = None
    """Keyed state, under exactly-once."""


class Strategy(Protocol):
    """One guarantee. All calls come from one thread: the polling thread, or the lane's."""

    def start(self) -> None:
        """Before the consumer subscribes: nothing of an earlier incarnation may be left open (rule 5)."""
        ...

    def changed(self, how: str) -> None:
        """The assignment was "assigned", is "revoking", was "revoked" or "lost"; called between batches."""
        ...

    def deliver(self, batch: Batch) -> None:
        """Take a batch to its end: finished, or undone with the positions rewound. Raises what stops the worker."""
        ...

    def idle(self) -> None:
        """There was nothing to deliver: serve the producer's call-backs, which would pile up."""
        ...

    def close(self) -> None:
        """Let go of the producer."""
        ...
