"""docs/effects.md: its examples run as they stand, and its commands exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import tallystick
from tallystick.boundary.effects import State
from tallystick.cli.main import app

pytest_plugins = ["pytester"]

TEXT = (Path(__file__).parents[2] / "docs" / "effects.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_runs_as_it_stands(
    example: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if "ProviderContract)" in example:
        # Only here: at its end it forgets each module that was imported meanwhile, and half an httpx would stay.
        pytester: pytest.Pytester = request.getfixturevalue("pytester")
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        monkeypatch.setenv("PYTHONPATH", str(Path(tallystick.__file__).parents[1]))
        pytester.makepyfile(example)
        result = pytester.runpytest_subprocess("-p", "no:cacheprovider", timeout=120)
        outcomes = result.parseoutcomes()
        assert outcomes["passed"] > 10
        assert not outcomes.keys() & {"failed", "errors"}
        return
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(example, "docs/effects.md", "exec"), names)  # noqa: S102 - our own document


def test_every_command_of_the_document_exists_with_its_options() -> None:
    lines = re.findall(r"^tallystick effects (.*?)(?:\s+#.*)?$", TEXT, flags=re.MULTILINE)
    assert len(lines) == 6
    for line in lines:
        command, *words = line.split()
        shown = CliRunner().invoke(app, ["effects", command, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
        assert shown.exit_code == 0, line
        missing = [word for word in words if word.startswith("--") and word not in shown.stdout]
        assert missing == [], line


def test_the_table_of_states_has_every_state() -> None:
    told = set(re.findall(r"[A-Z]+_?[A-Z]+", "\n".join(re.findall(r"^\| ([A-Z].*) \|$", TEXT, flags=re.MULTILINE))))
    assert {state.value for state in State} <= told
