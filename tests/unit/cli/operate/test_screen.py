"""Tables for people, JSON lines for programs."""

from __future__ import annotations

import json

import pytest

from tallystick.cli.operate.screen import duration, show


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(None, None), (0, "0 ms"), (999, "999 ms"), (1000, "1 s"), (90_500, "1 min 30 s"), (90_000_000, "1 d 1 h")],
)
def test_a_duration_has_two_units_at_most(milliseconds: int | None, text: str | None) -> None:
    assert duration(milliseconds) == text


def test_json_has_a_line_for_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    show(("Last stable", "Topic"), [(1234, "a"), (None, "b")], as_json=True, empty="none")
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == [
        {"last_stable": 1234, "topic": "a"},
        {"last_stable": None, "topic": "b"},
    ]


def test_a_table_into_a_pipe_cuts_nothing_and_its_numbers_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 300
    show(("Topic", "Lag"), [(long, 1_234_567), ("b", None)], as_json=False, empty="none")
    printed = capsys.readouterr().out
    assert long in printed
    assert "1,234,567" in printed


def test_no_rows_are_said_beside_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    show(("Topic",), [], as_json=False, empty="there are no topics")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "there are no topics\n")
