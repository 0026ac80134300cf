"""Committed offsets, plain and transactional: which one counts, who sees it when, and what a crash leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick.broker.groups.records import CommittedOffset
from tallystick.broker.groups.requests.offsets import Committer
from tallystick.wire.errors import ErrorCode

if TYPE_CHECKING:
    from tests.unit.broker.groups.conftest import Office

NOBODY = Committer()
PRODUCER, OTHER_PRODUCER = 7, 8


def plain(office: Office, offset: int, *, partition: int = 0, topic: str = "a", metadata: str = "") -> ErrorCode:
    row = CommittedOffset(topic=topic, partition=partition, offset=offset, metadata=metadata)
    return office.coordinator.offsets.commit("g", NOBODY, [row])[topic, partition]


def transactional(office: Office, offset: int, *, partition: int = 0, producer_id: int = PRODUCER) -> ErrorCode:
    row = CommittedOffset(topic="a", partition=partition, offset=offset)
    errors = office.coordinator.offsets.commit_in_transaction(
        "g", NOBODY, [row], producer_id=producer_id, producer_epoch=0
    )
    return errors["a", partition]


def end(office: Office, *, commit: bool, producer_id: int = PRODUCER) -> None:
    office.coordinator.complete_transaction("g", producer_id, commit=commit)


def fetched(office: Office, *, require_stable: bool = False, partition: int = 0) -> int | str:
    (row,) = office.coordinator.offsets.fetch("g", [("a", partition)], require_stable=require_stable)
    return row.offset if row.error is ErrorCode.none else row.error.name


def test_a_plain_commit_is_visible_at_once(office: Office) -> None:
    assert fetched(office) == -1
    assert plain(office, 5) is ErrorCode.none
    assert fetched(office) == 5


@pytest.mark.parametrize(("commit", "expected"), [(True, 100), (False, 50)])
def test_a_transactional_commit_is_visible_when_its_transaction_commits(
    office: Office, commit: bool, expected: int
) -> None:
    plain(office, 50)
    transactional(office, 100)
    assert fetched(office) == 50
    assert fetched(office, require_stable=True) == "unstable_offset_commit"
    assert fetched(office, require_stable=True, partition=1) == -1
    end(office, commit=commit)
    assert fetched(office, require_stable=True) == expected


def test_between_a_transactional_and_a_plain_commit_the_later_in_the_log_wins(office: Office) -> None:
    transactional(office, 100)
    plain(office, 150)
    end(office, commit=True)
    assert fetched(office) == 150
    plain(office, 160)
    transactional(office, 110)
    end(office, commit=True)
    assert fetched(office) == 110


def test_between_two_transactions_the_offsets_that_come_later_win_whichever_commits_last(office: Office) -> None:
    transactional(office, 100)
    transactional(office, 200, producer_id=OTHER_PRODUCER)
    end(office, commit=True, producer_id=OTHER_PRODUCER)
    assert fetched(office, require_stable=True) == "unstable_offset_commit"
    end(office, commit=True)
    assert fetched(office, require_stable=True) == 200


def test_within_a_transaction_the_last_commit_of_a_partition_counts(office: Office) -> None:
    transactional(office, 100)
    transactional(office, 120)
    end(office, commit=True)
    assert fetched(office) == 120


def test_ending_a_transaction_again_changes_nothing(office: Office) -> None:
    transactional(office, 100)
    end(office, commit=True)
    plain(office, 90)
    length = len(office.journal.records)
    end(office, commit=True)
    end(office, commit=False)
    assert (fetched(office), len(office.journal.records)) == (90, length)


def test_offsets_and_pending_offsets_survive_a_crash(office: Office) -> None:
    plain(office, 50, metadata="where from")
    transactional(office, 100)
    office.restart()
    assert fetched(office) == 50
    assert fetched(office, require_stable=True) == "unstable_offset_commit"
    (row,) = office.coordinator.offsets.fetch("g", None, require_stable=False)
    assert row.metadata == "where from"
    end(office, commit=True)
    office.restart()
    assert fetched(office, require_stable=True) == 100


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"topic": "unknown"}, ErrorCode.unknown_topic_or_partition),
        ({"partition": 4}, ErrorCode.unknown_topic_or_partition),
        ({"metadata": "x" * 4097}, ErrorCode.offset_metadata_too_large),
        ({"metadata": "x" * 4096}, ErrorCode.none),
    ],
)
def test_an_offset_that_cannot_be_is_refused(office: Office, row: dict[str, Any], expected: ErrorCode) -> None:
    assert plain(office, 1, **row) is expected


def test_a_group_id_is_not_empty(office: Office) -> None:
    row = CommittedOffset(topic="a", partition=0, offset=1)
    assert office.coordinator.offsets.commit("", NOBODY, [row]) == {("a", 0): ErrorCode.invalid_group_id}


def test_a_member_of_an_unknown_group_is_of_no_generation(office: Office) -> None:
    row = CommittedOffset(topic="a", partition=0, offset=1)
    committer = Committer(member_id="m", generation_id=3)
    assert office.coordinator.offsets.commit("g", committer, [row]) == {("a", 0): ErrorCode.illegal_generation}
    assert office.coordinator.groups() == ()


def test_looking_at_an_unknown_group_does_not_make_it(office: Office) -> None:
    assert fetched(office) == -1
    assert office.coordinator.offsets.fetch("g", None, require_stable=True) == []
    assert office.coordinator.groups() == ()


def test_a_full_disk_is_told_and_nothing_is_committed(office: Office) -> None:
    plain(office, 5)
    office.journal.is_full = True
    assert plain(office, 6) is ErrorCode.coordinator_not_available
    assert transactional(office, 7) is ErrorCode.coordinator_not_available
    assert fetched(office, require_stable=True) == 5


def test_a_group_is_deleted_with_its_offsets_but_not_under_an_open_transaction(office: Office) -> None:
    assert office.coordinator.delete("g") is ErrorCode.group_id_not_found
    plain(office, 5)
    transactional(office, 7)
    assert office.coordinator.delete("g") is ErrorCode.non_empty_group
    end(office, commit=False)
    assert office.coordinator.delete("g") is ErrorCode.none
    assert fetched(office) == -1
    office.restart()
    assert office.coordinator.groups() == ()


def test_single_offsets_are_deleted(office: Office) -> None:
    assert office.coordinator.offsets.delete("g", [("a", 0)]) == (ErrorCode.group_id_not_found, {})
    plain(office, 5)
    plain(office, 6, partition=1)
    error, errors = office.coordinator.offsets.delete("g", [("a", 0), ("a", 3)])
    assert (error, set(errors.values())) == (ErrorCode.none, {ErrorCode.none})
    office.restart()
    assert (fetched(office), fetched(office, partition=1)) == (-1, 6)


def test_a_deleted_topic_takes_its_offsets_along(office: Office) -> None:
    plain(office, 5)
    office.coordinator.offsets.forget_topic("other")
    assert fetched(office) == 5
    office.coordinator.offsets.forget_topic("a")
    assert fetched(office) == -1


partitions = st.integers(0, 1)
offsets = st.integers(0, 9)
producers = st.sampled_from([PRODUCER, OTHER_PRODUCER])
steps = st.one_of(
    st.tuples(st.just("plain"), partitions, offsets),
    st.tuples(st.just("transactional"), partitions, offsets, producers),
    st.tuples(st.just("end"), producers, st.booleans()),
    st.tuples(st.just("delete offset"), partitions),
    st.tuples(st.just("restart")),
)


def take(office: Office, step: Any) -> None:
    match step:
        case ("plain", partition, offset):
            plain(office, offset, partition=partition)
        case ("transactional", partition, offset, producer_id):
            transactional(office, offset, partition=partition, producer_id=producer_id)
        case ("end", producer_id, commit):
            end(office, commit=commit, producer_id=producer_id)
        case ("delete offset", partition):
            office.coordinator.offsets.delete("g", [("a", partition)])
        case ("restart",):
            office.restart()


@given(st.lists(steps, max_size=30))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_replay_of_every_prefix_of_the_journal_is_the_state_as_it_was_then(
    make_office: Callable[[], Office], script: list[Any]
) -> None:
    office = make_office()
    seen: list[tuple[int, dict[str, Any]]] = []
    office.journal.on_append = lambda: seen.append((len(office.journal.records), office.offsets()))
    for step in script:
        take(office, step)
    seen.append((len(office.journal.records), office.offsets()))
    for length, state in seen:
        replayed = make_office()
        for record in office.journal.records[:length]:
            replayed.coordinator.replay(record)
        assert {g: s for g, s in replayed.offsets().items() if any(s)} == {g: s for g, s in state.items() if any(s)}


@given(st.lists(steps, max_size=30))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_snapshot_gives_the_same_offsets_and_the_same_future(
    make_office: Callable[[], Office], script: list[Any]
) -> None:
    office, copy = make_office(), make_office()
    for step in script:
        take(office, step)
    for record in office.coordinator.snapshot():
        copy.coordinator.replay(record)
    for producer_id in (PRODUCER, OTHER_PRODUCER):
        for one in (office, copy):
            plain(one, 77, partition=1)
            end(one, commit=True, producer_id=producer_id)
        assert [fetched(copy, partition=p) for p in (0, 1)] == [fetched(office, partition=p) for p in (0, 1)]


@given(st.lists(steps.filter(lambda step: step[0] != "delete offset"), max_size=30))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_visible_offset_is_that_of_the_latest_commit_that_is_not_pending_or_aborted(
    make_office: Callable[[], Office], script: list[Any]
) -> None:
    """Against a model that keeps the whole history and looks it up."""
    office = make_office()
    history: list[dict[str, Any]] = []
    for step in script:
        take(office, step)
        match step:
            case ("plain", partition, offset):
                history.append({"partition": partition, "offset": offset, "state": "visible"})
            case ("transactional", partition, offset, producer_id):
                history.append({"partition": partition, "offset": offset, "state": producer_id})
            case ("end", producer_id, commit):
                for entry in history:
                    if entry["state"] == producer_id:
                        entry["state"] = "visible" if commit else "gone"
    for partition in (0, 1):
        visible = [e["offset"] for e in history if e["partition"] == partition and e["state"] == "visible"]
        assert fetched(office, partition=partition) == (visible[-1] if visible else -1)
