"""Which segments are too old or too much."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from tallystick.broker.log.old_segments import Retention, count_old
from tallystick.broker.log.settings import SegmentAge


@dataclass
class Piece:
    base_offset: int
    next_offset: int
    size_bytes: int
    largest_timestamp_ms: int


def pieces(*sizes_and_times: tuple[int, int]) -> list[Piece]:
    return [Piece(at * 10, at * 10 + 10, size, time_ms) for at, (size, time_ms) in enumerate(sizes_and_times)]


def count(
    segments: list[Piece],
    *,
    retention_ms: int = -1,
    retention_bytes: int = -1,
    deletes: bool = True,
    start_offset: int = 0,
    high_watermark: int | None = None,
) -> int:
    keeps = Retention(retention_ms=retention_ms, retention_bytes=retention_bytes, deletes=deletes)
    mark = segments[-1].next_offset if high_watermark is None else high_watermark
    return count_old(segments, keeps, now_ms=1_000, start_offset=start_offset, high_watermark=mark)


THREE = pieces((100, 500), (100, 300), (100, 900))


def test_a_segment_goes_by_its_newest_record_and_not_before_those_in_front_of_it() -> None:
    assert count(THREE, retention_ms=499) == 2
    assert count(THREE, retention_ms=500) == 0
    assert count(THREE, retention_ms=0) == 3
    assert count(THREE, retention_ms=-1) == 0


def test_as_many_go_as_leave_the_size() -> None:
    assert [count(THREE, retention_bytes=size) for size in (300, 201, 200, 100, 99, 0)] == [0, 0, 1, 2, 2, 3]


def test_what_is_above_the_high_watermark_stays() -> None:
    assert count(THREE, retention_ms=0, high_watermark=29) == 2
    assert count(THREE, retention_bytes=0, high_watermark=5) == 0


def test_an_empty_last_segment_stays() -> None:
    assert count([*THREE, Piece(30, 30, 0, 0)], retention_ms=0) == 3


def test_what_lies_before_the_start_goes_under_every_policy() -> None:
    for deletes in (True, False):
        assert [count(THREE, start_offset=offset, deletes=deletes) for offset in (0, 9, 10, 29, 30)] == [0, 0, 1, 2, 2]
    assert count(THREE, retention_ms=0, retention_bytes=0, deletes=False) == 0


@given(st.integers(0, 2**40), st.integers(1, 10_000), st.integers(0, 20_000))
def test_the_jitter_only_shortens_and_is_the_same_each_time(base_offset: int, ms: int, jitter_ms: int) -> None:
    age = SegmentAge(ms=ms, jitter_ms=jitter_ms)
    limit = age.limit_of(base_offset)
    assert max(ms - jitter_ms, 0) <= limit <= ms
    assert limit == SegmentAge(ms=ms, jitter_ms=jitter_ms).limit_of(base_offset)


def test_the_jitter_is_another_one_for_each_segment() -> None:
    age = SegmentAge(ms=1_000, jitter_ms=1_000)
    assert len({age.limit_of(base_offset) for base_offset in range(20)}) > 10
