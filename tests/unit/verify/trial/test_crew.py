"""The crew starts again who dies, tells a kill from an end of one's own, and buries replaced workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tallystick.pipeline.worker_main import Exit
from tallystick.verify.timeline import Timeline
from tallystick.verify.trial.crew import Crew, Crews
from tallystick.verify.worker_process import WorkerFailed


class FakeProcess:
    """As much of a worker process as the crew asks for."""

    def __init__(self, number: int, machine: int) -> None:
        self.name = f"{number} on {machine}"
        self.exit_code: int | None = None
        self.starts: list[str | None] = []
        self.signals: list[str] = []
        self.pid = 100 + number

    def start(self, *, kill_at: str | None = None) -> None:
        self.exit_code = None
        self.starts.append(kill_at)

    def kill(self) -> None:
        self.exit_code = -9

    def freeze(self) -> None:
        self.signals.append("freeze")

    def thaw(self) -> None:
        self.signals.append("thaw")

    def terminate(self) -> None:
        self.exit_code = 0 if self.exit_code is None else self.exit_code

    def wait_end(self) -> int | None:
        return self.exit_code

    def log_tail(self) -> str:
        return "last words"


class World:
    def __init__(self, folder: Path, count: int = 1) -> None:
        self.made: list[FakeProcess] = []
        self.kill_log = folder / "kills.jsonl"
        self.timeline = Timeline()
        self.crew = Crew(self._make, count=count, timeline=self.timeline, kill_log=self.kill_log)
        self.crew.start()

    def _make(self, number: int, machine: int) -> Any:
        self.made.append(FakeProcess(number, machine))
        return self.made[-1]

    def look(self) -> None:
        """Twice, with the pause between end and start over."""
        self.crew.look()
        for slot in self.crew._slots:
            slot.start_at_s = None if slot.start_at_s is None else 0.0
        self.crew.look()

    @property
    def texts(self) -> list[str]:
        return [moment.text for moment in self.timeline.moments()]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_killed_worker_is_started_again_and_its_end_is_nobodys_fault(world: World) -> None:
    world.crew.kill(0)
    world.look()
    assert world.made[0].starts == [None, None]
    assert (world.crew.kills, world.crew.own_ends) == (1, [])


def test_a_worker_that_ends_on_its_own_is_started_again_and_told(world: World) -> None:
    world.made[0].exit_code = 1
    world.look()
    assert world.made[0].starts == [None, None]
    assert world.crew.own_ends == ["slot-0 ended with 1: last words"]


def test_workers_that_end_again_and_again_fail_the_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallystick.verify.trial.crew.OWN_ENDS_MAX", 3)
    for _ in range(3):
        world.made[0].exit_code = 1
        world.look()
    world.made[0].exit_code = 1
    with pytest.raises(WorkerFailed, match="4 times"):
        world.look()


def test_a_kill_at_a_place_is_armed_in_the_next_incarnation_and_counts_once_it_is_logged(world: World) -> None:
    world.crew.kill_at(0, "cycle.before-commit", 2)
    assert world.crew.is_armed(0)
    world.look()
    assert world.made[0].starts == [None, "cycle.before-commit:2"]
    assert world.crew.unreached == ("cycle.before-commit:2",)
    world.kill_log.write_text('{"pid": 100, "kill_point": "cycle.before-commit"}\n')
    world.made[0].exit_code = -9
    world.look()
    assert (world.crew.kills, world.crew.own_ends) == (1, [])
    assert len(world.crew.unreached) == 0


def test_a_replaced_worker_must_notice_that_it_is_fenced(world: World) -> None:
    world.crew.replace(0)
    first, second = world.made
    assert (first.signals, second.starts, second.name) == (["freeze"], [None], "0 on 1")
    world.crew.wake_replaced(0)
    assert world.crew.replaced_live(0)
    first.exit_code = Exit.FENCED
    world.look()
    assert not world.crew.replaced_live(0)
    assert world.crew.fenced == 1
    assert world.crew.stop() == []


def test_a_replaced_worker_that_lives_on_is_a_problem(world: World) -> None:
    world.crew.replace(0)
    assert world.crew.stop() == ["slot-0: a replaced worker did not notice that it was fenced"]


def test_crews_end_together(tmp_path: Path) -> None:
    one, other = World(tmp_path), World(tmp_path)
    Crews(one.crew, other.crew).kill_all()
    assert [process.exit_code for process in (*one.made, *other.made)] == [-9, -9]
