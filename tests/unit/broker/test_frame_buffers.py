"""Places for large requests are used again, within a bound."""

from __future__ import annotations

from tallystick.broker.frame_buffers import KEPT, KEPT_BYTES_EACH, FrameBuffers


def test_a_place_that_was_given_back_is_taken_again_for_what_fits_into_it() -> None:
    buffers = FrameBuffers()
    first = buffers.take(300_000)
    assert len(first) == 300_000
    buffers.give_back(first)
    second = buffers.take(310_000)
    assert len(second) == 310_000
    assert second.obj is first.obj


def test_a_place_in_use_is_not_taken_by_another_request() -> None:
    buffers = FrameBuffers()
    first = buffers.take(300_000)
    assert buffers.take(300_000).obj is not first.obj


def test_no_more_is_kept_than_the_bound() -> None:
    buffers = FrameBuffers()
    places = [buffers.take(KEPT_BYTES_EACH) for _ in range(KEPT + 1)]
    large = buffers.take(KEPT_BYTES_EACH + 1)
    assert len(large) == KEPT_BYTES_EACH + 1
    for place in (large, *places):
        buffers.give_back(place)
    again = {id(buffers.take(1).obj) for _ in range(KEPT + 1)}
    assert len(again & {id(place.obj) for place in places}) == KEPT
    assert id(large.obj) not in again
