"""Which windows a moment is in."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import ConfigurationError
from tallystick.pipeline.windows import Hopping, Session, Tumbling

TIMES = st.integers(-(10**13), 10**13)


def ms(number: int) -> timedelta:
    return timedelta(milliseconds=number)


@given(TIMES, st.integers(1, 10**9))
def test_a_moment_is_in_one_tumbling_window(time_ms: int, size: int) -> None:
    (start,) = Tumbling(ms(size)).starts(time_ms)
    assert start <= time_ms < start + size
    assert start % size == 0


@given(TIMES, st.integers(1, 10**6), st.integers(1, 50))
def test_a_moment_is_in_each_hopping_window_around_it_and_no_other(time_ms: int, advance: int, times: int) -> None:
    size = advance * times - advance // 2
    starts = list(Hopping(ms(size), ms(advance)).starts(time_ms))
    around = range(time_ms - size - 2 * advance, time_ms + 2 * advance)
    aligned = around[-around.start % advance :: advance]
    assert starts == [start for start in aligned if start <= time_ms < start + size]


@pytest.mark.parametrize(
    "shape",
    [
        Tumbling(ms(0)),
        Session(ms(-1)),
        Hopping(ms(10), ms(11)),
        Hopping(timedelta(days=1), ms(1)),
        Tumbling(timedelta(microseconds=1500)),
    ],
)
def test_a_shape_that_leaves_moments_out_or_has_too_many_windows_is_refused(
    shape: Tumbling | Hopping | Session,
) -> None:
    with pytest.raises(ConfigurationError):
        shape.check()
