"""docs/testing.md: its examples run as they stand, and its table has every action."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import tallystick
from tallystick.broker import faults

pytest_plugins = ["pytester"]

TEXT = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_runs_as_it_stands(
    example: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "def test_" in example:
        # Only here: at its end it forgets each module that was imported meanwhile.
        pytester: pytest.Pytester = request.getfixturevalue("pytester")
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        monkeypatch.setenv("PYTHONPATH", str(Path(tallystick.__file__).parents[1]))
        pytester.makepyfile(example)
        result = pytester.runpytest_subprocess("-p", "tallystick.testing.plugin", "-Werror", timeout=120)
        outcomes = result.parseoutcomes()
        assert outcomes.keys() == {"passed"}
        assert outcomes["passed"] >= example.count("def test_")
        return
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(example, "docs/testing.md", "exec"), names)  # noqa: S102 - our own document


def test_the_table_has_every_action() -> None:
    told = set(re.findall(r"^\| `([A-Z]\w+)\(", TEXT, flags=re.MULTILINE))
    actions = {name for name in faults.__all__ if hasattr(getattr(faults, name), "__struct_config__")}
    assert told == actions - {"Fault", "Match", "Injection"}
