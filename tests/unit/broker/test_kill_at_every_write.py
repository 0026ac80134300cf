"""``kill -9`` at every change of the disk: a start finds the state that was live at the last append.

A run is traced. At each append, rename, cut, new folder and removal the data folder is copied as a killed process would
leave it, with the append undone, done in part, or done; and every copy is opened.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from tests.support.disk_trace import SYNCS, Change, copy_after_kill, traced
from tests.unit.broker.crash_world import (
    EVERYTHING,
    SCRIPTS,
    TOPICS,
    WITHOUT_SHRINKING,
    State,
    World,
    check_settled,
    folders,
    recovered,
    state_of,
    world,
)

from tallystick.broker.inspection import check_folder


@dataclass(frozen=True, slots=True)
class Killed:
    """A copy of the folder; ``appends`` were whole. ``during`` is for messages."""

    folder: Path
    appends: int
    during: str


@dataclass
class EveryKill:
    """Listens to a run. ``live`` is the state after so many appends."""

    root: Path
    copies: Path
    world: World | None = None
    appends: int = 0
    live: dict[int, State] = field(default_factory=dict)
    killed: list[Killed] = field(default_factory=list)
    step: Any = None
    every_byte: bool = False
    listening: bool = False

    def on_change(self, change: Change) -> None:
        if not self.listening or change.call in SYNCS:
            return  # what a killed process wrote needs no sync to be there
        if not change.is_append:
            self._copy(change, None, 0)
            return
        self.note_live()
        whole = len(change.data)
        every = self.every_byte and change.path.suffix == ".log"
        for kept in range(whole) if every else sorted({0, 1, whole // 2, whole - 1}):
            self._copy(change, change, kept)
        self.appends += 1

    def note_live(self) -> None:
        """Nothing is between append and apply now."""
        if self.world is not None:
            self.live.setdefault(self.appends, state_of(self.world.node))

    def _copy(self, change: Change, torn: Change | None, kept: int) -> None:
        to = self.copies / str(len(self.killed))
        copy_after_kill(self.root, to, torn=torn, kept_bytes=kept)
        during = f"{self.step}: {change.call} {change.path.relative_to(self.root)}, {kept} bytes of it"
        self.killed.append(Killed(to, self.appends, during))


def run(script: list[tuple[Any, ...]], base: Path, *, every_byte: bool = False) -> EveryKill:
    (base / "copies").mkdir(parents=True)
    kills = EveryKill(base / "data", base / "copies", every_byte=every_byte)
    with traced(kills.root, kills.on_change), world(kills.root) as made:
        for topic in TOPICS:
            made.node.partitions.create(topic, partition_count=2)
        kills.world, kills.listening = made, True
        for step in script:
            kills.step = step
            made.take(step)
            kills.note_live()
        kills.listening = False
    return kills


def check(kills: EveryKill) -> None:
    for killed in kills.killed:
        assert not check_folder(killed.folder).is_damaged, killed.during
        with recovered(killed.folder) as (found, node):
            assert_same(found, kills.live[killed.appends], killed.during)
            check_settled(node)
            after = state_of(node)
        if after != found:  # this start completed something
            with recovered(killed.folder) as (found, node):
                assert_same(found, after, f"the start after {killed.during}")
                assert_same(state_of(node), after, f"the start after {killed.during}")
        shutil.rmtree(killed.folder)


def assert_same(found: State, expected: State, during: str) -> None:
    for part in expected.keys() | found.keys():
        assert found.get(part) == expected.get(part), f"{part} differs, killed in {during}"


def test_a_start_finds_what_was_live_wherever_a_run_with_everything_is_killed() -> None:
    with folders() as base:
        kills = run(EVERYTHING, base)
        assert len(kills.killed) > 250
        check(kills)


@given(SCRIPTS)
@settings(max_examples=12, deadline=None, phases=WITHOUT_SHRINKING, suppress_health_check=[HealthCheck.too_slow])
def test_a_start_finds_what_was_live_wherever_any_run_is_killed(script: list[tuple[Any, ...]]) -> None:
    with folders() as base:
        check(run(script, base))


TRANSACTION: list[tuple[Any, ...]] = [
    ("write", "t", 2, "a", 0),
    ("write", "t", 2, "b", 1),
    ("offset", "t", 2, "a", 1),
    ("end", "t", True),
]


def test_a_start_finds_what_was_live_when_a_transaction_is_killed_at_any_byte_of_a_batch() -> None:
    with folders() as base:
        kills = run(TRANSACTION, base, every_byte=True)
        assert len(kills.killed) > 300
        check(kills)


def test_a_start_that_completes_a_transaction_may_itself_be_killed_at_every_write() -> None:
    with folders() as base:
        kills = run(TRANSACTION, base)
        prepared = [killed for killed in kills.killed if "PREPARE_COMMIT" in repr(kills.live[killed.appends])]
        assert len(prepared) > 10
        for killed in prepared:
            start = EveryKill(killed.folder, base / f"{killed.folder.name}-again", listening=True)
            start.copies.mkdir()
            with traced(start.root, start.on_change), recovered(killed.folder) as (_, node):
                start.listening = False
                completed = state_of(node)
            for again in start.killed:
                with recovered(again.folder) as (_, node):
                    assert_same(state_of(node), completed, again.during)
                shutil.rmtree(again.folder)
