"""Another member of a step's group, for as long as a rebalance takes.

Owns: ``Intruder``, and how a rebalance is seen from the loops that stay. Must not know: what they process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from confluent_kafka import Consumer

from tallystick.testing.app_driver.loop_run import LoopRun


class Intruder:
    """Joins a group, takes its share of the partitions, reads nothing, and leaves at the end of the ``with`` block."""

    def __init__(self, bootstrap: str, group: str, topics: Sequence[str]) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": group,
                "partition.assignment.strategy": "range",
                "enable.auto.commit": False,
            }
        )
        self._came = False
        self._consumer.subscribe(list(topics), on_assign=self._take_nothing)

    def is_in(self) -> bool:
        """Whether it has been given its share; polls."""
        self._consumer.poll(0.01)
        return self._came

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def _take_nothing(self, consumer: Any, _partitions: Any) -> None:
        self._came = True
        consumer.assign([])


def assigned_since(runs: Sequence[LoopRun], counts: Mapping[LoopRun, int]) -> Callable[[], bool]:
    """Whether each loop has had more assignments than this, to be asked again and again."""
    return lambda: all(run.counters.assignments > counts[run] for run in runs)
