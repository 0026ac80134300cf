"""The bar of ``tallystick run`` while workers restore state: what it reads, and that it comes and goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallystick.cli import restore_bar
from tallystick.pipeline.counters import Counters
from tallystick.pipeline.observation.view import StepView, View, ViewFile


def show(folder: Path, slot: str, restoring: tuple[int, int] | None) -> None:
    step = StepView.of("count", Counters(), now_ms=0, turn_ms=0, turn_limit_ms=1, lag={}, restoring=restoring)
    ViewFile(folder, slot).write(
        View(slot=slot, pid=1, at_ms=0, started_at_ms=0, guarantee="exactly-once", steps=(step,))
    )


def test_only_steps_that_restore_are_shown(tmp_path: Path) -> None:
    show(tmp_path, "w-0", (30, 100))
    show(tmp_path, "w-1", None)
    assert restore_bar.restoring(tmp_path, ["w-0", "w-1", "w-2"]) == {"w-0 count": (30, 100)}


def test_the_bar_ends_with_its_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(restore_bar, "_LOOK_S", 0.001)
    monkeypatch.setenv("FORCE_COLOR", "1")
    show(tmp_path, "w-0", (30, 100))
    with restore_bar.restore_bar(tmp_path, ["w-0"]):
        show(tmp_path, "w-0", (60, 100))
        show(tmp_path, "w-0", None)
    assert "w-0" not in restore_bar.restoring(tmp_path, ["w-0"])
    assert "Traceback" not in capsys.readouterr().err
