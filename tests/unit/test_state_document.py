"""docs/state.md: its examples are tests that pass as they stand, and what it says of defaults is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import tallystick
from tallystick.pipeline.state import changelogs
from tallystick.pipeline.state.layers import MAX_COMMITTED_ENTRIES
from tallystick.pipeline.windows import aggregation, joins

pytest_plugins = ["pytester"]

TEXT = (Path(__file__).parents[2] / "docs" / "state.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


def test_the_examples_pass_as_they_stand(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(tallystick.__file__).parents[1]))
    pytester.makepyfile(**{f"test_{number}": example for number, example in enumerate(EXAMPLES)})
    result = pytester.runpytest_subprocess("-p", "tallystick.testing.plugin", "-Werror", timeout=170)
    result.assert_outcomes(passed=sum(example.count("def test_") for example in EXAMPLES))


def test_its_limits_are_those_of_the_code() -> None:
    assert f"up to {MAX_COMMITTED_ENTRIES:,}" in " ".join(TEXT.split())
    assert f"closes up to {aggregation.CLOSE_AT_ONCE:,} windows" in TEXT
    assert f"Up to {joins.MAX_WAITING:,} events of one key" in TEXT
    assert changelogs._SETTINGS["delete.retention.ms"] == str(7 * 24 * 3600 * 1000)
