"""A step without lanes: the strategy runs in the polling thread, between two polls.

Owns: ``Inline``. Must not know: which guarantee it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tallystick.pipeline.assignment import Assignment
from tallystick.pipeline.at_least_once import AtLeastOnce
from tallystick.pipeline.at_most_once import AtMostOnce
from tallystick.pipeline.batch import EventIds
from tallystick.pipeline.counters import Counters
from tallystick.pipeline.exactly_once import ExactlyOnce
from tallystick.pipeline.guarantee import Guarantee
from tallystick.pipeline.kafka_client import Partition
from tallystick.pipeline.making import Making
from tallystick.pipeline.replays import Replays
from tallystick.pipeline.strategy import Parts, Strategy

_STRATEGIES: dict[Guarantee, Callable[[Parts], Strategy]] = {
    Guarantee.AT_MOST_ONCE: AtMostOnce,
    Guarantee.AT_LEAST_ONCE: AtLeastOnce,
    Guarantee.EXACTLY_ONCE: ExactlyOnce,
}

_LOOK_MS: Final = 10
"""How long a poll waits while state is restored, which nobody announces."""


class Inline:
    """Polls a batch, takes it to its end, polls the next."""

    def __init__(self, making: Making, assignment: Assignment, ids: EventIds, counters: Counters) -> None:
        self._making = making
        self._assignment = assignment
        self._ids = ids
        self._counters = counters
        self._replays = Replays()
        self._pace = making.plan.pace()
        state = making.lane_state(0)
        self._work = making.work(state)
        self._strategy = _STRATEGIES[making.plan.guarantee](making.parts(0, assignment, self._work, counters, state))

    @property
    def counters(self) -> list[Counters]:
        return [self._counters]

    @property
    def waiting(self) -> frozenset[Partition]:
        return frozenset()  # what was polled is in a batch at once

    def start(self) -> None:
        self._strategy.start()

    def changed(self, how: str) -> None:
        self._strategy.changed(how)
        if self._making.state is not None and how != "revoking":
            self._making.state.changed(self._assignment.owned)

    def turn(self) -> None:
        assignment = self._assignment
        assignment.raise_if_sources_are_gone()
        pace, clock = self._pace, self._making.clock
        wait_ms = pace.wait_ms
        if self._making.state is not None:
            assignment.consumer.resume(sorted(self._making.state.released()))
            wait_ms = min(wait_ms, _LOOK_MS) if self._making.state.held else wait_ms
        isolating = self._work.failures.isolating
        limit = 1 if isolating else pace.records
        before = assignment.changes
        messages = assignment.consumer.poll(limit, wait_ms)
        if not messages:
            self._strategy.idle()
            return
        if assignment.changes != before:
            # Records polled before a rebalance and after it are in one list: none can be trusted to be next.
            assignment.rewind()
            return
        began_ms = clock.monotonic_ms()
        batch = self._ids.batch(messages)
        self._counters.records_replayed += self._replays.count(batch.runs)
        self._counters.taken.update(batch.positions)
        self._strategy.deliver(batch)
        if not isolating:
            self._pace = pace.after(records=len(messages), took_ms=clock.monotonic_ms() - began_ms)

    def close(self) -> None:
        try:
            self._strategy.close()
        finally:
            self._work.close()
