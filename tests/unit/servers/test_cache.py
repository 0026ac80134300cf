"""Where the cache folder is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallystick.servers.cache import cache_folder


def test_the_environment_can_put_the_cache_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLYSTICK_CACHE", "/somewhere/else")
    assert cache_folder() == Path("/somewhere/else")


def test_the_cache_is_a_folder_of_ours_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TALLYSTICK_CACHE", raising=False)
    assert cache_folder().name == "tallystick"
