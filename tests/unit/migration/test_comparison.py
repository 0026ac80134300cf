"""Two sides beside each other: the same, or the first place where they are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.ids import deterministic_id
from tallystick.migration.comparison import Compared, Differs, Position, compare
from tallystick.migration.side import Moved


def moved(number: int, offset: int) -> Moved:
    return Moved(offset, deterministic_id("t", number), 1000 + number, b"k", b"v%d" % number, [("h", b"1")])


def side(offsets: Sequence[int]) -> list[Moved]:
    return [moved(number, offset) for number, offset in enumerate(offsets)]


def compared(source: list[Moved], target: list[Moved], **committed: int) -> Compared:
    return compare("t-0", iter(source), iter(target), committed)


offsets = st.sets(st.integers(0, 200), max_size=30).map(sorted)


@given(offsets, st.data())
def test_a_group_goes_on_at_the_record_that_it_would_have_read_next(there: list[int], data: st.DataObject) -> None:
    here = data.draw(st.sets(st.integers(0, 200), min_size=len(there), max_size=len(there)).map(sorted))
    committed = data.draw(st.integers(0, 210))
    found = compared(side(there), side(here), group=committed)
    done = sum(offset < committed for offset in there)
    position = found.positions[committed]
    assert found.records == len(there)
    assert sum(offset < position.to_offset for offset in here) == done
    if done < len(there):
        assert position == Position(here[done], deterministic_id("t", done))
    else:
        assert position.next_event_id is None


def test_each_side_may_have_other_gaps() -> None:
    one, other = compared(side([0, 1, 5]), side([2, 3, 4])), compared(side([7, 8, 9]), side([0, 1, 2]))
    assert one.digest == other.digest


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"value": b"other"}, "record number 1 differs: offset 5 of the source"),
        ({"key": None}, "record number 1 differs"),
        ({"timestamp_ms": 1}, "record number 1 differs"),
        ({"headers": []}, "record number 1 differs"),
        ({"event_id": deterministic_id("t", 99)}, "record number 1 differs"),
    ],
)
def test_a_record_that_is_not_the_same_is_named(change: dict[str, object], told: str) -> None:
    source, target = side([0, 5, 9]), side([0, 1, 2])
    target[1] = replace(target[1], **change)  # type: ignore[arg-type]
    with pytest.raises(Differs, match=told):
        compared(source, target)


def test_a_record_that_is_missing_repeated_or_moved_is_named() -> None:
    with pytest.raises(Differs, match="lacks the record at offset 9"):
        compared(side([0, 5, 9]), side([0, 1]))
    with pytest.raises(Differs, match="has a record more, at its offset 3"):
        compared(side([0, 5, 9]), [*side([0, 1, 2]), moved(2, 3)])
    one, other, last = side([0, 1, 2])
    with pytest.raises(Differs, match="record number 1 differs"):
        compared([one, other, last], [one, last, other])
