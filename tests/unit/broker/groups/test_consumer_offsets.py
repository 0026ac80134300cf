"""Offsets of consumer groups: who may commit and fetch them, and when they go."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from tests.support.catalog import topic_id_of

from tallystick.broker.groups.records import CommittedOffset
from tallystick.broker.groups.requests.offsets import Committer
from tallystick.wire.errors import ErrorCode

if TYPE_CHECKING:
    from tests.unit.broker.groups.conftest import Crew

STALE, UNKNOWN = ErrorCode.stale_member_epoch, ErrorCode.unknown_member_id


def commit(
    crew: Crew, member: str, epoch: int, *partitions: int, in_transaction: bool = False, speaks: bool = True
) -> ErrorCode:
    committer = Committer(member_id=member, generation_id=epoch, speaks_member_epochs=speaks)
    offsets = [CommittedOffset("a", partition, 7) for partition in partitions or (0,)]
    groups = crew.office.coordinator.offsets
    if in_transaction:
        errors = groups.commit_in_transaction("g", committer, offsets, producer_id=1, producer_epoch=0)
    else:
        errors = groups.commit("g", committer, offsets)
    (error,) = set(errors.values())
    return error


@pytest.fixture
def shared(crew: Crew) -> Crew:
    """ "one" has partitions 0 and 1 since epoch 2 and is in epoch 3; "two" got the others in epoch 3."""
    crew.settle("one", "two")
    assert crew.group.members["one"].assigned == {topic_id_of("a"): {0: 2, 1: 2}}
    assert crew.group.members["two"].assigned == {topic_id_of("a"): {2: 3, 3: 3}}
    return crew


def test_a_member_commits_in_its_epoch_and_in_older_ones_what_it_has_had_since(shared: Crew) -> None:
    assert commit(shared, "one", 3) is ErrorCode.none
    assert commit(shared, "one", 2, 0, 1) is ErrorCode.none
    assert commit(shared, "one", 1, 0) is STALE
    assert commit(shared, "one", 2, 0, 2) is STALE
    assert commit(shared, "two", 2, 2) is STALE
    assert commit(shared, "one", 4) is STALE
    assert commit(shared, "one", -1) is STALE
    assert commit(shared, "three", 3) is UNKNOWN
    assert commit(shared, "", -1) is UNKNOWN


def test_in_a_transaction_a_stale_epoch_has_the_name_that_producers_know(shared: Crew) -> None:
    assert commit(shared, "one", 3, in_transaction=True) is ErrorCode.none
    assert commit(shared, "one", 2, 0, in_transaction=True) is ErrorCode.none
    assert commit(shared, "one", 2, 2, in_transaction=True) is ErrorCode.illegal_generation
    assert commit(shared, "one", 4, in_transaction=True) is ErrorCode.illegal_generation
    assert commit(shared, "three", 3, in_transaction=True) is UNKNOWN
    assert commit(shared, "", -1, in_transaction=True) is ErrorCode.none


def test_a_member_commits_in_a_version_that_knows_of_epochs(shared: Crew) -> None:
    assert commit(shared, "one", 3, speaks=False) is ErrorCode.unsupported_version
    assert commit(shared, "three", 3, speaks=False) is UNKNOWN


def test_anybody_commits_for_an_empty_group_and_nobody_with_an_epoch_for_none(crew: Crew) -> None:
    assert commit(crew, "one", 3) is ErrorCode.group_id_not_found
    assert commit(crew, "one", 3, speaks=False) is ErrorCode.illegal_generation
    assert commit(crew, "one", 3, in_transaction=True, speaks=False) is ErrorCode.illegal_generation
    crew.join("one")
    crew.leave("one")
    assert commit(crew, "", -1) is ErrorCode.none


def test_a_member_fetches_in_its_epoch_and_others_say_nothing_of_themselves(shared: Crew) -> None:
    check = shared.office.coordinator.offsets.check_fetch
    assert check("g", "one", 3) is ErrorCode.none
    assert check("g", "one", 2) is STALE
    assert check("g", "three", 3) is UNKNOWN
    assert check("g", "", -1) is UNKNOWN
    assert check("g", None, -1) is ErrorCode.none
    assert check("unknown", "one", 3) is ErrorCode.none


def test_offsets_of_topics_that_members_read_are_not_deleted(shared: Crew) -> None:
    shared.office.topics.make("b", 1)
    assert shared.office.coordinator.offsets.delete("g", [("a", 0), ("b", 0), ("c", 0)]) == (
        ErrorCode.none,
        {
            ("a", 0): ErrorCode.group_subscribed_to_topic,
            ("b", 0): ErrorCode.none,
            ("c", 0): ErrorCode.unknown_topic_or_partition,
        },
    )


def test_offsets_expire_by_the_time_of_their_commit_when_no_member_reads_the_topic(
    make_crew: Callable[..., Crew],
) -> None:
    crew = make_crew(offsets_retention_minutes=1, offsets_retention_check_interval_ms=1_000)
    crew.join("one")
    assert commit(crew, "one", 2) is ErrorCode.none
    for _ in range(4):
        crew.tick(after_ms=30_000, beat={"one": 2})
    assert [row.offset for row in crew.office.coordinator.offsets.fetch("g", None, require_stable=False)] == [7]
    crew.leave("one")
    crew.tick(after_ms=1_000)
    assert crew.office.coordinator.groups() == ()
