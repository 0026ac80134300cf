"""Worker processes without Kafka: restarts, locks, kill points for the first incarnation only, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest
import structlog

from tallystick.errors import ConfigurationError
from tallystick.pipeline.slots import SlotLock
from tallystick.pipeline.supervisor import Supervisor, SupervisorConfig, backoff_s, kill_entries
from tallystick.pipeline.worker_main import Exit, load_app, main

WORKER = """
import json, os, signal, sys, time
slot = sys.argv[sys.argv.index("--slot") + 1]
with open(os.path.join({folder!r}, slot + ".starts"), "a") as file:
    file.write(json.dumps({{"pid": os.getpid(), "kill_at": os.environ.get("TALLYSTICK_KILL_AT")}}) + "\\n")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
{body}
time.sleep(60)
"""


class Running:
    """A supervisor in a thread, over workers whose code is given."""

    def __init__(self, folder: Path, body: str = "", slots: tuple[str, ...] = ("a", "b"), **config: object) -> None:
        self.folder = folder
        code = WORKER.format(folder=str(folder), body=body)
        self.supervisor = Supervisor(
            SupervisorConfig(command=(sys.executable, "-c", code), slots=slots, run_dir=folder, **config)  # type: ignore[arg-type]
        )
        self.code: int | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.supervisor.stop()
        self.join()

    def join(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()

    def starts(self, slot: str) -> list[dict[str, object]]:
        path = self.folder / f"{slot}.starts"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def _run(self) -> None:
        self.code = self.supervisor.run()


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


def test_a_killed_worker_starts_again_and_the_others_go_on(tmp_path: Path) -> None:
    with Running(tmp_path) as running:
        eventually(lambda: bool(running.starts("a")) and bool(running.starts("b")))
        os.kill(int((tmp_path / "a.pid").read_text()), signal.SIGKILL)
        eventually(lambda: len(running.starts("a")) == 2)
        eventually(lambda: int((tmp_path / "a.pid").read_text()) == running.starts("a")[1]["pid"])
    assert len(running.starts("b")) == 1
    assert running.code == 0
    assert not (tmp_path / "a.pid").exists()


def test_kill_points_are_armed_in_the_first_incarnation_of_one_slot(tmp_path: Path) -> None:
    environment = {**os.environ, "TALLYSTICK_KILL_AT": "x:1", "TALLYSTICK_KILL_SLOT": "b"}
    with Running(tmp_path, environment=environment) as running:
        eventually(lambda: bool(running.starts("a")) and bool(running.starts("b")))
        os.kill(int((tmp_path / "b.pid").read_text()), signal.SIGKILL)
        eventually(lambda: len(running.starts("b")) == 2)
    assert [start["kill_at"] for start in running.starts("b")] == ["x:1", None]
    assert running.starts("a")[0]["kill_at"] is None


def test_an_entry_that_names_a_slot_is_for_that_slot_alone() -> None:
    setting = "x:1,y:2@b,z@a"
    assert kill_entries(setting, slot="a", default_slot="a") == "x:1,z"
    assert kill_entries(setting, slot="b", default_slot="a") == "y:2"
    assert kill_entries("", slot="a", default_slot="a") == ""


@pytest.mark.parametrize("code", [Exit.FENCED, Exit.CONFIGURATION, Exit.STOPPED_BY_POLICY])
def test_a_worker_that_would_end_in_the_same_way_again_is_not_restarted_and_ends_the_rest(
    tmp_path: Path, code: Exit
) -> None:
    with Running(tmp_path, body=f"if slot == 'a': sys.exit({int(code)})") as running:
        running.join()
    assert running.code == code
    assert len(running.starts("a")) == 1


def test_a_worker_that_keeps_dying_is_given_up(tmp_path: Path) -> None:
    with Running(tmp_path, body="sys.exit(70)", slots=("a",), max_restarts=2) as running:
        running.join()
    assert running.code == Exit.FAILED
    assert len(running.starts("a")) == 3


def test_a_worker_that_does_not_drain_is_killed(tmp_path: Path) -> None:
    body = "signal.signal(signal.SIGTERM, signal.SIG_IGN); open(os.path.join({!r}, 'deaf'), 'w').close()"
    with Running(tmp_path, body=body.format(str(tmp_path)), slots=("a",), drain_timeout_s=0.2) as running:
        eventually((tmp_path / "deaf").exists)
        running.supervisor.stop()
        running.join()
    assert running.code == Exit.FAILED


def test_a_worker_that_was_told_to_stop_before_it_took_signals_has_ended_well(tmp_path: Path) -> None:
    body = "signal.signal(signal.SIGTERM, signal.SIG_DFL); open(os.path.join({!r}, 'early'), 'w').close()"
    with Running(tmp_path, body=body.format(str(tmp_path)), slots=("a",)) as running:
        eventually((tmp_path / "early").exists)
        running.supervisor.stop()
        running.join()
    assert running.code == 0


def test_a_slot_is_taken_once_per_machine(tmp_path: Path) -> None:
    with SlotLock(tmp_path, "a"):
        with pytest.raises(ConfigurationError) as refusal:
            SlotLock(tmp_path, "a")
        assert refusal.value.rule == 5
        SlotLock(tmp_path, "b").release()
    SlotLock(tmp_path, "a").release()


def test_the_first_restart_is_at_once_and_later_ones_wait_longer_up_to_a_limit() -> None:
    pauses = [backoff_s(number) for number in range(1, 12)]
    assert pauses[:4] == [0.0, 0.25, 0.5, 1.0]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 10.0


def test_slots_must_differ(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        Supervisor(SupervisorConfig(command=("x",), slots=("a", "a"), run_dir=tmp_path))


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("nothing", "module:attribute"),
        ("no_such_module_here:app", "no module"),
        ("tallystick.pipeline:nothing", "has no 'nothing'"),
        ("tallystick.pipeline:STOP", "not a tallystick.pipeline.App"),
    ],
)
def test_a_reference_that_leads_nowhere_says_why(reference: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_app(reference)


def test_a_misconfigured_worker_ends_with_its_code() -> None:
    try:
        assert main(["nothing", "--bootstrap", "b:1", "--slot", "s", "--log-level", "error"]) == Exit.CONFIGURATION
    finally:
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()


def test_a_process_ends_with_its_code_although_something_hangs_when_the_interpreter_goes(tmp_path: Path) -> None:
    """librdkafka's clients do at times; exit functions run before, and output is whole."""
    code = f"""
import atexit, pathlib, time
from tallystick.pipeline.worker_main import Exit, end

class Hangs:
    def __del__(self):
        time.sleep(600)

atexit.register(pathlib.Path({str(tmp_path / "ran")!r}).touch)
held = Hangs()
print("last words", end="")
end(Exit.FENCED)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == Exit.FENCED
    assert done.stdout == "last words"
    assert (tmp_path / "ran").exists()
