"""The garbage collector waits for a batch's end, and is as before afterwards."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tallystick.pipeline import calm_collector
from tallystick.pipeline import collector as module


@pytest.fixture(autouse=True)
def as_python_starts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = gc.get_threshold()
    monkeypatch.setattr(module, "_AT_FIRST", before)
    yield
    gc.set_threshold(*before)


def test_the_collector_waits_for_more_objects_than_a_batch_makes() -> None:
    before = gc.get_threshold()
    with calm_collector(30_000):
        assert gc.get_threshold() == (300_000, *before[1:])
        assert gc.isenabled()
    assert gc.get_threshold() == before


def test_small_batches_have_a_least_threshold() -> None:
    with calm_collector(1):
        assert gc.get_threshold()[0] == 20_000


def test_what_is_there_is_not_looked_at_again_until_the_end() -> None:
    with calm_collector(1):
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0


def test_a_threshold_that_somebody_chose_stays() -> None:
    gc.set_threshold(5_000, 20, 30)
    with calm_collector(30_000):
        assert gc.get_threshold() == (5_000, 20, 30)
        assert gc.get_freeze_count() == 0


def test_a_collector_that_is_off_stays_off(monkeypatch: pytest.MonkeyPatch) -> None:
    gc.set_threshold(0)
    monkeypatch.setattr(module, "_AT_FIRST", gc.get_threshold())
    with calm_collector(30_000):
        assert gc.get_threshold()[0] == 0


def test_cycles_that_a_batch_leaves_are_freed() -> None:
    """In a process of its own: pytest keeps what it wants of an exception."""
    program = """
import gc, weakref
from tallystick.pipeline import calm_collector
class Node: pass
with calm_collector(1):
    alive = []
    for _ in range(30_000):
        node = Node(); node.me = node; alive.append(weakref.ref(node))
    assert sum(ref() is not None for ref in alive) <= 20_000
"""
    subprocess.run([sys.executable, "-c", program], check=True, env=dict(os.environ), timeout=60)
