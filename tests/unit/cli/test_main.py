"""The command line's edges: help, version, and what a failure looks like."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tallystick import __version__
from tallystick.cli import main
from tallystick.errors import ConfigurationError, FencedError


def tallystick(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tallystick", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_version_is_the_package_version() -> None:
    assert tallystick("--version").stdout == f"tallystick {__version__}\n"


def test_the_help_teaches_where_to_start() -> None:
    shown = tallystick("--help").stdout
    for words in ("tallystick demo guarantees", "tallystick broker --data DIR", "tallystick run package.module:app"):
        assert words in shown


@pytest.mark.parametrize(
    "command", [("broker",), ("run",), ("sandbox",), ("demo", "guarantees"), ("demo", "billing")], ids=" ".join
)
def test_every_command_has_a_help_of_its_own(command: tuple[str, ...]) -> None:
    done = tallystick(*command, "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout


WITHOUT_EXTRAS = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
from tallystick.cli.main import main
main()
"""


@pytest.mark.parametrize(
    ("command", "code", "shown"),
    [
        (("run", "--help"), 0, "Usage:"),
        (("verify", "--help"), 0, "Usage:"),
        (("lag",), 2, "pip install 'tallystick[broker]'"),
        (("inbox", "list", "--database", "sqlite:///none"), 2, "pip install 'tallystick[sql]'"),
        (("sandbox", "--data", "none"), 2, "pip install 'tallystick[sandbox]'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_the_commands_are_there_without_any_extra_and_say_which_one_they_need(
    command: tuple[str, ...], code: int, shown: str, tmp_path: Path
) -> None:
    program = WITHOUT_EXTRAS.format(absent=set(main.EXTRA_OF_MODULE))
    done = subprocess.run(
        [sys.executable, "-c", program, *command],
        capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path, env=os.environ | {"COLUMNS": "120"},
    )  # fmt: skip
    assert (done.returncode, shown in done.stdout + done.stderr) == (code, True), done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_extra_is_named_with_what_to_type() -> None:
    assert "pip install 'tallystick[broker]'" in str(main.explain_missing_module("kio.schema"))
    assert main.explain_missing_module("tallystick.nonsense") is None


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        (ConfigurationError("acks=1", rule=6, remedy="Use acks=all"), 2, "tallystick: acks=1 (rule 6). Use acks=all\n"),
        (FencedError("a newer owner exists"), 1, "tallystick: a newer owner exists\n"),
        (ModuleNotFoundError("no kio", name="kio"), 2, "tallystick[broker]"),
    ],
)
def test_a_deliberate_error_is_one_line_and_an_exit_code(
    error: Exception, code: int, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(main, "app", fail)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == code
    assert shown in capsys.readouterr().err


@pytest.mark.parametrize("command", [("inbox", "list"), ("effects", "list"), ("erase", "ann")], ids=" ".join)
def test_a_database_that_is_away_is_one_line_and_an_exit_code(command: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]  # nobody listens there any more
    done = tallystick(*command, "--database", f"postgresql://ann@127.0.0.1:{port}/shop")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("tallystick: the database: connection failed")
    assert "Traceback" not in done.stderr


def test_the_settings_of_the_broker_are_listed_with_what_becomes_of_them() -> None:
    lines = tallystick("broker", "--list-settings").stdout.splitlines()
    assert "num.partitions\tint\t4\thonoured\tPartitions of a topic that is made without a number." in lines
