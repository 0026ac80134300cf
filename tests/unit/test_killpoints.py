"""A kill point really kills, at the time it was told, and leaves a line that says so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tallystick import killpoints
from tallystick.errors import ConfigurationError

PROGRAM = "from tallystick.killpoints import reach\nfor n in range(5):\n    print(n, flush=True)\n    reach('here')\n"


def _run(setting: str, log: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {killpoints.ENV_KILL_AT: setting, killpoints.ENV_KILL_LOG: str(log)}
    return subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)


def test_the_process_dies_by_sigkill_the_third_time_it_gets_there(tmp_path: Path) -> None:
    log = tmp_path / "kills.jsonl"
    ended = _run("here:3", log)
    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout.split() == ["0", "1", "2"]
    assert [json.loads(line)["kill_point"] for line in log.read_text().splitlines()] == ["here"]


def test_a_place_that_is_not_armed_costs_nothing_and_kills_nobody(tmp_path: Path) -> None:
    log = tmp_path / "kills.jsonl"
    ended = _run("elsewhere", log)
    assert ended.returncode == 0
    assert not log.exists()


def test_an_entry_for_a_slot_is_its_supervisors_business(tmp_path: Path) -> None:
    log = tmp_path / "kills.jsonl"
    assert _run("here:1@worker-1", log).returncode == 0
    assert not log.exists()


def test_a_count_that_is_no_number_is_refused(tmp_path: Path) -> None:
    ended = _run("here:soon", tmp_path / "kills.jsonl")
    assert ended.returncode == 1
    assert "'soon' is no count" in ended.stderr


def test_one_name_has_one_meaning() -> None:
    killpoints.declare("test.twice", "one meaning")
    killpoints.declare("test.twice", "one meaning")
    with pytest.raises(ConfigurationError, match="declared twice"):
        killpoints.declare("test.twice", "another meaning")
