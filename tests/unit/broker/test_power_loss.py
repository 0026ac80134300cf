"""Power loss at every change of the disk under ``--fsync commit``: what was acknowledged is there, transactions whole.

What was synced is there after the power came back. Of everything else each file, and each name in a folder, kept as
much or as little as chance decides, or zeros where bytes should be.
"""

from __future__ import annotations

import shutil
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from tests.support.disk_trace import Change, PowerLoss, traced
from tests.unit.broker.crash_world import (
    EVERYTHING,
    SCRIPTS,
    TOPICS,
    WITHOUT_SHRINKING,
    State,
    World,
    check_settled,
    everything_in,
    folders,
    recovered,
    state_of,
    world,
)

from tallystick.broker.fsync_policy import FsyncPolicy
from tallystick.broker.inspection import check_folder
from tallystick.broker.node import Node
from tallystick.wire.records import decode_batch, iterate_batches, read_marker

Fates = dict[tuple[str, int, bytes], tuple[int, str]]
"""(topic, partition, value) to (producer id, ``open``, ``committed`` or ``aborted``), of transactional records."""


def fates(node: Node) -> Fates:
    found: Fates = {}
    for topic in node.partitions.all():
        for partition in topic.partitions:
            open_here: dict[int, list[tuple[str, int, bytes]]] = {}
            for header, batch in iterate_batches(everything_in(partition.log)):
                if header.is_control:
                    fate = "committed" if read_marker(batch).commit else "aborted"
                    ended = open_here.pop(header.producer_id, [])
                    found.update(dict.fromkeys(ended, (header.producer_id, fate)))
                elif header.is_transactional:
                    written = [(topic.name, partition.index, row.value or b"") for row in decode_batch(batch)[1]]
                    open_here.setdefault(header.producer_id, []).extend(written)
                    found.update(dict.fromkeys(written, (header.producer_id, "open")))
    return found


def without_visible(state: State) -> State:
    """By part. What readers see is what was synced before, and everything after; the journal is one part."""
    parts: State = {"journal": (state["transactions"], state["groups"]), "topics": state["topics"]}
    for name, part in state.items():
        if isinstance(part, dict):
            parts[name] = {key: value for key, value in part.items() if key != "visible"}
    return parts


@dataclass(frozen=True, slots=True)
class Lost:
    """A copy of the folder, which has at least the first ``acknowledged`` appends and at most ``appends``."""

    folder: Path
    acknowledged: int
    appends: int
    fates: Fates
    during: str


@dataclass
class EveryPowerLoss:
    """Listens to a run."""

    root: Path
    copies: Path
    disk: PowerLoss
    world: World | None = None
    appends: int = 0
    acknowledged: int = 0
    fates: Fates = field(default_factory=dict)
    live: dict[int, State] = field(default_factory=dict)
    lost: list[Lost] = field(default_factory=list)
    step: Any = None
    listening: bool = False

    def on_change(self, change: Change) -> None:
        if self.listening:
            if change.is_append:
                self.note_live()
            for seed in (0, *(len(self.lost) * SEEDS + number + 1 for number in range(SEEDS))):
                to = self.copies / str(len(self.lost))
                self.disk.copy(to, seed=seed)
                during = f"{self.step}: before {change.call} {change.path.relative_to(self.root)}, seed {seed}"
                self.lost.append(Lost(to, self.acknowledged, self.appends, self.fates, during))
            self.appends += change.is_append
        self.disk.on_change(change)

    def note_live(self) -> None:
        assert self.world is not None
        self.live.setdefault(self.appends, without_visible(state_of(self.world.node)))

    def acknowledge(self) -> None:
        """The responses wait for this under the policy."""
        assert self.world is not None
        self.world.node.durability.sync_all_now()
        self.note_live()
        self.acknowledged, self.fates = self.appends, fates(self.world.node)


def run(script: list[tuple[Any, ...]], base: Path) -> EveryPowerLoss:
    (base / "copies").mkdir()
    losses = EveryPowerLoss(base / "data", base / "copies", PowerLoss(base / "data"))
    with traced(losses.root, losses.on_change, losses.disk.on_created), world(losses.root, fsync=COMMIT) as made:
        for topic in TOPICS:
            made.node.partitions.create(topic, partition_count=2)
        losses.world = made
        losses.acknowledge()
        losses.listening = True
        for step in script:
            losses.step = step
            made.take(step)
            losses.acknowledge()
        losses.listening = False
    return losses


COMMIT = FsyncPolicy.COMMIT
SEEDS = 2
"""So often chance decides at each change."""


def check(losses: EveryPowerLoss) -> None:
    for number, lost in enumerate(losses.lost):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tallystick.broker.log.data_folder.boot_id", lambda: uuid.UUID(int=number + 1).bytes)  # noqa: B023
            report = check_folder(lost.folder)
            assert not report.is_damaged, f"{report.findings}, power lost in {lost.during}"
            with recovered(lost.folder, fsync=COMMIT) as (found, node):
                possible = [losses.live[n] for n in range(lost.acknowledged, lost.appends + 1)]
                for part, value in without_visible(found).items():
                    assert value in [state.get(part) for state in possible], f"{part}, power lost in {lost.during}"
                check_settled(node)
                check_fates(lost, node)
        shutil.rmtree(lost.folder)


def check_fates(lost: Lost, node: Node) -> None:
    """What had ended has ended so, and what was open is open, committed or aborted as a whole."""
    found = fates(node)
    together: dict[int, str] = {}
    for record, (producer_id, fate) in lost.fates.items():
        if not node.partitions.exists(record[0], record[1]):
            continue  # the step deletes the topic
        now = found[record][1]
        if fate == "open":
            assert together.setdefault(producer_id, now) == now, f"{record}, power lost in {lost.during}"
        else:
            assert now == fate, f"{record}, power lost in {lost.during}"


def test_nothing_acknowledged_is_missing_wherever_a_run_with_everything_loses_power() -> None:
    with folders() as base:
        losses = run(EVERYTHING, base)
        assert len(losses.lost) > 400
        check(losses)


@given(SCRIPTS)
@settings(max_examples=6, deadline=None, phases=WITHOUT_SHRINKING, suppress_health_check=[HealthCheck.too_slow])
def test_nothing_acknowledged_is_missing_wherever_any_run_loses_power(script: list[tuple[Any, ...]]) -> None:
    with folders() as base:
        check(run(script, base))
