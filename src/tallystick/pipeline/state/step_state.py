"""The state of a step in one worker: which partitions have theirs, and which still wait for it.

Owns: ``StepState`` and ``StatePlan``. Must not know: transactions, what the step does.

All methods run in the polling thread, except those that a lane reaches through its ``LaneState``.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import structlog

from tallystick.errors import ConfigurationError
from tallystick.ids import lane_of
from tallystick.pipeline.kafka_client import Cluster, Follower, Partition
from tallystick.pipeline.patience import Patience
from tallystick.pipeline.ports import Processor
from tallystick.pipeline.slots import SlotLock
from tallystick.pipeline.state.changelogs import Changelog
from tallystick.pipeline.state.lane_state import LaneState
from tallystick.pipeline.state.partition_state import PartitionState
from tallystick.pipeline.state.restorer import Restoration, Restorer, wait_for
from tallystick.pipeline.state.store import AnyStore

log = structlog.get_logger(__name__)

_NONCE_BYTES = 16


@dataclass(frozen=True, slots=True)
class StatePlan:
    """``factory`` makes the processor of a lane. ``folder`` keeps local copies between runs; None keeps none."""

    stores: tuple[AnyStore, ...]
    factory: Callable[[LaneState], Processor]
    folder: Path | None = None


class StepState:
    """Restores what is assigned, and closes what is given up."""

    def __init__(
        self,
        *,
        step: str,
        sources: tuple[str, ...],
        partitions: int,
        changelogs: tuple[Changelog, ...],
        folder: Path | None,
        cluster_id: str,
        cluster: Cluster,
        patience: Patience,
        make_follower: Callable[[], Follower],
    ) -> None:
        """``folder`` is this slot's own; it is locked."""
        self._step = step
        self._sources = sources
        self._partitions = partitions
        self._changelogs = changelogs
        self._patience = patience
        self._closing = ExitStack()
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="tallystick-state-"))
            self._closing.callback(shutil.rmtree, folder, ignore_errors=True)
        else:
            self._closing.enter_context(SlotLock(folder, "state"))
        self._folder = folder
        self._restorer = Restorer(step, cluster_id, cluster, patience, make_follower)
        self._closing.callback(self._restorer.close)
        self._states: dict[int, PartitionState] = {}
        self._open: dict[int, PartitionState] = {}
        self._restorations: dict[int, Restoration] = {}
        self._owned: frozenset[Partition] = frozenset()
        self._held: frozenset[Partition] = frozenset()

    @property
    def held(self) -> frozenset[Partition]:
        """Owned partitions that must not be processed yet."""
        return self._held

    @property
    def topics(self) -> frozenset[str]:
        """The changelogs."""
        return frozenset(one.topic for one in self._changelogs)

    @property
    def records_restored(self) -> int:
        return self._restorer.records

    @property
    def restoring(self) -> tuple[int, int] | None:
        """Changelog offsets read, of those to be read, in the restorations that run; None if none does.

        May be asked from any thread.
        """
        found = [one.offsets for one in list(self._restorations.values())]
        return (sum(read for read, _ in found), sum(of for _, of in found)) if found else None

    def lane(self, number: int, lanes: int) -> LaneState:
        """What one lane of ``lanes`` works with."""
        return LaneState(self._states, self._catch_up, lambda partition: lane_of(partition, lanes) == number)

    def changed(self, owned: frozenset[Partition]) -> None:
        """The assignment is this now: restore what came, close what went."""
        self._owned = owned
        numbers = {number for _, number in owned}
        self._check(owned, numbers)
        for number in self._open.keys() - numbers:
            self._restorations.pop(number, None)
            self._states.pop(number, None)
            self._open.pop(number).close()
        for number in sorted(numbers - self._open.keys()):
            state = PartitionState(
                number,
                self._changelogs,
                self._folder / f"{number}.sqlite",
                clock=self._patience.clock,
                nonce=os.urandom(_NONCE_BYTES),
            )
            self._open[number] = state
            self._restorations[number] = self._restorer.restore(state)
        self._held = self._waiting()

    def released(self) -> frozenset[Partition]:
        """Partitions whose state has become complete since the last call. Raises what ended the restorer."""
        if not self._restorations:
            return frozenset()
        for number, one in list(self._restorations.items()):
            if one.over.is_set():
                if self._restorer.raised is not None:
                    raise self._restorer.raised
                del self._restorations[number]
                if one.complete and number in self._open:
                    self._states[number] = self._open[number]
        before, self._held = self._held, self._waiting()
        return (before - self._held) & self._owned

    def close(self) -> None:
        """Write what Kafka committed, and let go of the files."""
        for state in self._open.values():
            state.close()
        self._open.clear()
        self._states.clear()
        self._closing.close()

    def _waiting(self) -> frozenset[Partition]:
        return frozenset(one for one in self._owned if one[1] not in self._states)

    def _check(self, owned: frozenset[Partition], numbers: set[int]) -> None:
        for number in numbers:
            if number >= self._partitions:
                raise ConfigurationError(
                    f"step {self._step!r} keeps state in {self._partitions} partitions, and a source has more now: "
                    "which key is in which partition has changed, and its state is in the partition of before",
                    remedy="Copy the source into a topic with the former number of partitions, or run the "
                    "application under a new name, or with --group, from the beginning",
                )
            apart = [topic for topic in self._sources if (topic, number) not in owned]
            if apart:
                raise ConfigurationError(
                    f"step {self._step!r} keeps state, and partition {number} of {apart} went to another member",
                    remedy="Use partition.assignment.strategy=range, which keeps co-partitioned sources together",
                )

    def _catch_up(self, states: Iterable[PartitionState]) -> None:
        """For a lane, which waits: its states read what their changelogs have beyond them."""
        running = [self._restorer.restore(state) for state in states]
        for one in running:
            if not wait_for(one, self._restorer, self._patience):
                self._states.pop(one.state.number, None)  # nothing is processed on a state that may lack something
