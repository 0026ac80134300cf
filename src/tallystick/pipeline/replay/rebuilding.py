"""The state of a step built up again, from the beginning of its input, beside the one that its workers have.

Owns: ``Rebuilt``. Must not know: what the step does with it. It lies in a temporary folder; no changelog is read or
written, and what a transaction is to a worker is a batch here.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tallystick.clock import SystemClock
from tallystick.errors import FatalError
from tallystick.pipeline.state import Changelog, LaneState, PartitionState, StatePlan, changelog_topic
from tallystick.pipeline.state.local_file import Mark, Origin

_NONCE_BYTES: Final = 16


class Rebuilt:
    """State of the partitions with these numbers, empty at first."""

    def __init__(self, plan: StatePlan, *, group: str, numbers: Iterable[int]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tallystick-replay-")
        self._changelogs = tuple(Changelog(store, changelog_topic(group, store.name)) for store in plan.stores)
        self._states = {number: self._state(number) for number in sorted(set(numbers))}
        self._commits = 0
        self.lane = LaneState(self._states, _cannot_catch_up, lambda _number: True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for state in self._states.values():
            state.close()
        self._folder.cleanup()

    def keep(self) -> None:
        """What was changed since the last call stays."""
        for _change in self.lane.changes():
            """A worker writes it to the changelog."""
        self._commits += 1
        written = {(one.topic, number): self._commits for one in self._changelogs for number in self._states}
        self.lane.commit(written)

    def _state(self, number: int) -> PartitionState:
        path = Path(self._folder.name) / f"{number}.sqlite"
        state = PartitionState(number, self._changelogs, path, clock=SystemClock(), nonce=os.urandom(_NONCE_BYTES))
        for one in self._changelogs:
            state.apply(one.store, (), Mark(Origin("replay", "replay", one.topic, number), 0, None, 0))
        return state


def _cannot_catch_up(states: Sequence[PartitionState]) -> None:
    raise FatalError(
        f"the state of partitions {[state.number for state in states]} cannot be read from a changelog here"
    )
