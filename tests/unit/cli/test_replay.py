"""What ``tallystick replay`` takes, and what it says of what it does not."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from tallystick.cli.main import app
from tallystick.cli.replay import _despite, _milliseconds
from tallystick.errors import ConfigurationError


def test_times_are_utc_unless_they_say_otherwise() -> None:
    assert _milliseconds("2026-03-01") == 1_772_323_200_000
    assert _milliseconds("2026-03-01T00:00:00Z") == 1_772_323_200_000
    assert _milliseconds("2026-03-01T02:00+02:00") == 1_772_323_200_000
    assert _milliseconds(None) is None
    with pytest.raises(ConfigurationError, match="For example 2026-03-01"):
        _milliseconds("March")


def test_nothing_is_written_without_a_name_for_the_change() -> None:
    ended = CliRunner().invoke(app, ["replay", "shop:app", "--apply"])
    assert isinstance(ended.exception, ConfigurationError)
    assert "--name" in str(ended.exception)


def test_only_what_may_be_overruled_is_taken() -> None:
    assert _despite(["gaps", "failures"]) == {"gaps", "failures"}
    with pytest.raises(ConfigurationError, match="failures, gaps"):
        _despite(["retention"])


def test_the_help_teaches_what_a_correction_is() -> None:
    shown = CliRunner().invoke(app, ["replay", "--help"], env={"COLUMNS": "200"}).stdout
    for words in ("tallystick-replaces", "--apply", "run it again", "--from 2026-03-01"):
        assert words in shown
