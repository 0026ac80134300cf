"""How far behind a step is, from librdkafka's statistics."""

from __future__ import annotations

import json

import pytest

from tallystick.pipeline.observation.lag import Fetched, fetched, lag_of, lags


def test_statistics_are_read_for_each_partition_and_not_for_the_unassigned_one() -> None:
    raw = {
        "topics": {
            "in": {
                "partitions": {
                    "0": {"next_offset": 7, "ls_offset": 9, "hi_offset": 12, "fetchq_cnt": 2},
                    "-1": {"next_offset": 0, "ls_offset": -1001},
                }
            }
        }
    }
    read = fetched(json.dumps(raw))
    assert read == {("in", 0): Fetched(next_offset=7, last_stable_offset=9, waiting=2)}


@pytest.mark.parametrize(
    ("known", "committed", "all_committed", "lag"),
    [
        (Fetched(next_offset=10, last_stable_offset=10), 10, True, 0),
        # The batch of 4..9 is being processed.
        (Fetched(next_offset=10, last_stable_offset=10), 4, False, 6),
        # Fetched, and not given to the application yet.
        (Fetched(next_offset=10, last_stable_offset=20, waiting=3), 7, True, 13),
        # Committed up to the marker at 10, which nobody commits: the client has gone past it.
        (Fetched(next_offset=11, last_stable_offset=11), 10, True, 0),
        # Records after an open transaction's first are no lag.
        (Fetched(next_offset=12, last_stable_offset=12), 12, True, 0),
        # Nothing was committed yet.
        (Fetched(next_offset=3, last_stable_offset=8), None, True, 5),
        (Fetched(next_offset=8, last_stable_offset=8, waiting=5), 3, True, 5),
        (Fetched(next_offset=8, last_stable_offset=8, waiting=5), None, True, None),
        # The client went back after an abort, and knows no next offset for a moment.
        (Fetched(next_offset=-1001, last_stable_offset=8), 4, False, None),
        (Fetched(next_offset=3, last_stable_offset=-1001), 3, True, None),
        # The statistics are older than the commit.
        (Fetched(next_offset=8, last_stable_offset=8), 12, True, 0),
    ],
)
def test_lag_reaches_from_the_commit_to_the_last_stable_offset(
    known: Fetched, committed: int | None, all_committed: bool, lag: int | None
) -> None:
    assert lag_of(known, committed, all_committed=all_committed) == lag


def test_what_is_in_a_batch_or_waits_for_a_lane_is_not_committed() -> None:
    def lag(*, taken: int, waiting: bool) -> int | None:
        place = ("in", 0)
        where = frozenset({place}) if waiting else frozenset()
        (found,) = lags(
            frozenset({place}), {place: Fetched(9, 9)}, taken={place: taken}, committed={place: 5}, waiting=where
        ).values()
        return found

    assert lag(taken=5, waiting=False) == 0
    assert lag(taken=6, waiting=False) == 4
    assert lag(taken=5, waiting=True) == 4


def test_only_owned_partitions_have_a_lag_and_those_without_statistics_an_unknown_one() -> None:
    known = {("in", 0): Fetched(1, 5), ("in", 1): Fetched(1, 5)}
    owned = frozenset({("in", 1), ("in", 2)})
    found = lags(owned, known, taken={}, committed={("in", 1): 1}, waiting=frozenset())
    assert found == {("in", 1): 4, ("in", 2): None}
