"""docs/sandbox.md: its commands do what it shows, its tables have every fault and number, its test runs."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

import tallystick
from tallystick.sandbox import SandboxProcess
from tallystick.sandbox.faults import Fault, FaultPlan

pytest_plugins = ["pytester"]

TEXT = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text(encoding="utf-8")
CONSOLE = re.findall(r"^```console\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
PYTHON = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
ADDRESS = "127.0.0.1:8090"


def commands() -> Iterator[tuple[str, str]]:
    """Each command of the document with the output that it shows."""
    for block in CONSOLE:
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output.strip()


def test_the_commands_do_what_the_document_shows(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path / "data") as sandbox:
        for command, shown in commands():
            assert ADDRESS in command, f"{command} is about another sandbox"
            done = subprocess.run(
                ["/bin/bash", "-c", command.replace(ADDRESS, f"{sandbox.host}:{sandbox.port}")],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            wanted = ".*".join(re.escape(part) for part in shown.split("..."))
            assert re.fullmatch(wanted, done.stdout.strip(), flags=re.DOTALL), (command, done.stdout, done.stderr)


def test_the_tables_have_every_fault_and_every_number() -> None:
    told = set(re.findall(r"`([a-z_0-9]+)`", "\n".join(re.findall(r"^\| (`.*?) \|", TEXT, flags=re.MULTILINE))))
    numbers = {field.name for field in fields(FaultPlan)} - {"seed", "rates", "rules", "hang_ms", "slow_ms"}
    assert {fault.value for fault in Fault} | numbers <= told
    assert "`hang_ms`" in TEXT
    assert "`slow_ms`" in TEXT


@pytest.mark.parametrize("example", PYTHON, ids=range(len(PYTHON)))
def test_the_test_of_the_document_passes(
    example: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(tallystick.__file__).parents[1]))
    pytester.makepyfile(example)
    result = pytester.runpytest_subprocess("-p", "tallystick.testing.plugin", timeout=120)
    result.assert_outcomes(passed=example.count("def test_"))


def test_the_command_that_starts_it_has_these_options() -> None:
    from typer.testing import CliRunner

    from tallystick.cli.main import app

    (line,) = re.findall(r"^tallystick (sandbox .*)$", TEXT, flags=re.MULTILINE)
    options = {word for word in shlex.split(line) if word.startswith("--")}
    shown = CliRunner().invoke(app, ["sandbox", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).stdout
    assert {option for option in options if option not in shown} == set()
