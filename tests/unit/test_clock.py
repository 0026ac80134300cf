"""The clock is an argument: by hand in a test, the machine's elsewhere."""

from __future__ import annotations

import pytest

from tallystick.clock import ManualClock, SystemClock


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(start_ms=5)
    assert (clock.now_ms(), clock.monotonic_ms()) == (5, 5)
    clock.advance(by_ms=7)
    assert (clock.now_ms(), clock.monotonic_ms()) == (12, 12)


def test_a_manual_clock_never_goes_back() -> None:
    with pytest.raises(ValueError, match="does not go back"):
        ManualClock().advance(by_ms=-1)


def test_the_system_clock_does_not_go_back() -> None:
    clock = SystemClock()
    readings = [clock.monotonic_ms() for _ in range(100)]
    assert readings == sorted(readings)
    assert clock.now_ms() > 1_700_000_000_000
