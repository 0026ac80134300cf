"""ConsumerGroupHeartbeat: what members are told, and what they are refused (KIP-848)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.catalog import topic_id_of

from tallystick.broker.groups.consumer.records import MemberState
from tallystick.wire.errors import ApiError, ErrorCode

if TYPE_CHECKING:
    from tests.unit.broker.groups.conftest import Crew, Office

SESSION_TIMEOUT_MS = 45_000


def refusal(action: Callable[..., Any], *args: Any, **fields: Any) -> ErrorCode:
    with pytest.raises(ApiError) as refused:
        action(*args, **fields)
    return refused.value.code


# --- joining and sharing ----------------------------------------------------------------------------------------------


def test_the_first_member_has_everything_at_once(crew: Crew) -> None:
    assert crew.join("one") == (2, {"a": (0, 1, 2, 3)})
    assert crew.status() == "Stable"


def test_a_partition_is_given_only_after_it_was_given_up(crew: Crew) -> None:
    crew.join("one")
    assert crew.join("two") == (3, {})
    assert crew.status() == "Reconciling"
    assert crew.beat("one", 2) == (2, {"a": (0, 1)})
    assert crew.beat("two", 3) == (3, None)
    assert crew.beat("one", 2, owned={"a": (0, 1, 2, 3)}) == (2, None)
    assert crew.beat("two", 3) == (3, None)
    assert crew.beat("one", 2, owned={"a": (0, 1)}) == (3, None)
    assert crew.beat("two", 3) == (3, {"a": (2, 3)})
    assert crew.status() == "Stable"


def test_members_that_leave_give_everything_back(crew: Crew) -> None:
    crew.settle("one", "two", "three")
    crew.leave("two")
    assert crew.status() == "Assigning"
    crew.settle("one", "three")
    assert sorted(crew.held("one") + crew.held("three")) == [("a", partition) for partition in range(4)]
    crew.leave("one")
    crew.leave("three")
    assert crew.status() == "Empty"


def test_a_heartbeat_that_changes_nothing_writes_nothing(crew: Crew) -> None:
    crew.join("one")
    written = len(crew.office.journal.records)
    assert crew.beat("one", 2) == (2, None)
    assert crew.beat("one", 2, owned={"a": (0, 1, 2, 3)}) == (2, None)
    assert len(crew.office.journal.records) == written


def test_a_full_request_is_told_everything_again(crew: Crew) -> None:
    crew.join("one")
    told = crew.beat("one", 2, topics=("a",), rebalance_timeout_ms=1_000, owned={"a": (0, 1, 2, 3)})
    assert told == (2, {"a": (0, 1, 2, 3)})


def test_who_joins_again_under_its_id_has_given_up_everything_and_gets_its_target(crew: Crew) -> None:
    crew.settle("one", "two")
    epoch = crew.group.members["one"].member_epoch
    assert crew.join("one") == (epoch, {"a": (0, 1)})


def test_a_changed_subscription_takes_partitions_away_before_the_next_target(crew: Crew) -> None:
    crew.office.topics.make("b", 2)
    crew.join("one")
    assert crew.beat("one", 2, topics=("b",)) == (2, {})
    assert crew.beat("one", 2, owned={}) == (3, {"b": (0, 1)})


# --- topics -----------------------------------------------------------------------------------------------------------


def test_new_partitions_and_deleted_topics_reach_the_members(crew: Crew) -> None:
    crew.office.topics.make("b", 1)
    crew.join("one", topics=("a", "b", "c"))
    crew.office.topics.make("a", 6)
    assert crew.beat("one", 2) == (3, {"a": (0, 1, 2, 3, 4, 5), "b": (0,)})
    crew.office.topics.make("c", 1)
    assert crew.beat("one", 3) == (4, {"a": (0, 1, 2, 3, 4, 5), "b": (0,), "c": (0,)})
    crew.office.topics.delete("a")
    assert crew.beat("one", 4) == (4, {"b": (0,), "c": (0,)})
    assert crew.beat("one", 4, owned={"b": (0,), "c": (0,)}) == (5, None)


def test_a_topic_that_nobody_subscribes_to_changes_nothing(crew: Crew) -> None:
    crew.join("one")
    crew.office.topics.make("other", 3)
    assert crew.beat("one", 2) == (2, None)


def test_a_regular_expression_finds_topics_also_later_and_only_whole_names(crew: Crew) -> None:
    crew.office.topics.make("ab", 1)
    assert crew.join("one", topics=(), regex="a|x.*") == (2, {"a": (0, 1, 2, 3)})
    crew.office.topics.make("x1", 1)
    assert crew.beat("one", 2) == (3, {"a": (0, 1, 2, 3), "x1": (0,)})
    assert crew.beat("one", 3, regex="") == (3, {})
    assert crew.beat("one", 3, owned={}) == (4, None)
    assert crew.group.resolved == {}


def test_a_regular_expression_finds_only_what_the_member_may_see(crew: Crew) -> None:
    crew.office.topics.make("secret", 1)
    assert crew.join("one", topics=(), regex=".*", may_see=lambda topic: topic != "secret") == (2, {"a": (0, 1, 2, 3)})


@pytest.mark.parametrize("regex", ["([", "(?=a)", "a" * 1001])
def test_a_regular_expression_that_cannot_be_is_refused(crew: Crew, regex: str) -> None:
    assert refusal(crew.join, "one", topics=(), regex=regex) is ErrorCode.invalid_regular_expression
    assert crew.office.coordinator.groups() == ()


def test_the_assignor_is_what_most_members_choose(crew: Crew) -> None:
    crew.join("one")
    assert crew.group.assignor == "uniform"
    crew.join("two", assignor="range")
    assert crew.group.assignor == "range"


# --- epochs -----------------------------------------------------------------------------------------------------------


def test_an_epoch_that_is_not_the_members_is_fenced(crew: Crew) -> None:
    crew.settle("one", "two")
    epoch = crew.group.members["one"].member_epoch
    assert refusal(crew.beat, "one", epoch + 1) is ErrorCode.fenced_member_epoch
    assert refusal(crew.beat, "one", epoch - 2) is ErrorCode.fenced_member_epoch


def test_a_member_that_missed_an_answer_goes_on_with_the_epoch_before(crew: Crew) -> None:
    crew.settle("one", "two")
    member = crew.group.members["one"]
    before = member.previous_member_epoch
    assert refusal(crew.beat, "one", before) is ErrorCode.fenced_member_epoch
    assert refusal(crew.beat, "one", before, owned={"a": (0, 1, 2)}) is ErrorCode.fenced_member_epoch
    assert crew.beat("one", before, owned={"a": (0,)}) == (member.member_epoch, None)


def test_who_is_not_a_member_is_told(crew: Crew) -> None:
    assert refusal(crew.beat, "one", 1) is ErrorCode.group_id_not_found
    assert refusal(crew.leave, "one") is ErrorCode.group_id_not_found
    crew.join("one")
    assert refusal(crew.beat, "two", 1) is ErrorCode.unknown_member_id
    assert refusal(crew.leave, "two") is ErrorCode.unknown_member_id


def test_a_full_group_takes_no_more_members(make_crew: Callable[..., Crew]) -> None:
    crew = make_crew(group_consumer_max_size=1)
    crew.join("one", instance="i")
    assert refusal(crew.join, "two") is ErrorCode.group_max_size_reached
    crew.leave("one", instance="i", for_good=False)
    assert crew.join("three", instance="i")[1] == {"a": (0, 1, 2, 3)}


def test_what_members_say_of_themselves_is_bounded(crew: Crew) -> None:
    topics = tuple("t" * 200 + str(number) for number in range(12_000))
    crew.join("one", topics=topics)
    assert refusal(crew.join, "two", topics=topics[1:]) is ErrorCode.group_max_size_reached
    assert crew.join("two")[1] == {"a": (0, 1, 2, 3)}


@pytest.mark.parametrize(
    "fields",
    [
        {"member_id": ""},
        {"group_id": ""},
        {"instance_id": ""},
        {"rack_id": ""},
        {"rebalance_timeout_ms": None},
        {"owned": None},
        {"owned": {topic_id_of("a"): frozenset({0})}},
        {"topics": None},
        {"member_epoch": -3},
        {"member_epoch": -2},
    ],
)
def test_a_request_that_makes_no_sense_is_refused(crew: Crew, fields: dict[str, Any]) -> None:
    assert refusal(crew.ask, "one", 0, **fields) is ErrorCode.invalid_request


def test_an_unknown_assignor_is_refused(crew: Crew) -> None:
    assert refusal(crew.join, "one", assignor="sticky") is ErrorCode.unsupported_assignor


# --- static members ---------------------------------------------------------------------------------------------------


def test_a_static_member_that_returns_has_its_partitions_without_a_new_epoch(crew: Crew) -> None:
    crew.join("one", instance="i")
    assert crew.leave("one", instance="i", for_good=False) == (-2, None)
    assert crew.join("two", instance="i") == (2, {"a": (0, 1, 2, 3)})
    assert list(crew.group.members) == ["two"]
    assert crew.group.group_epoch == 2


def test_partitions_of_a_static_member_that_is_away_wait_for_it(crew: Crew) -> None:
    crew.settle("one", "two", instances={"one": "i"})
    crew.leave("one", instance="i", for_good=False)
    held = crew.held("two")
    epoch = crew.group.members["two"].member_epoch
    crew.tick(after_ms=SESSION_TIMEOUT_MS - 1, beat={"two": epoch})
    assert crew.held("two") == held
    crew.tick(after_ms=1)
    crew.settle("two")
    assert len(crew.held("two")) == 4


def test_an_instance_id_belongs_to_one_member_until_it_is_released(crew: Crew) -> None:
    crew.join("one", instance="i")
    assert refusal(crew.join, "two", instance="i") is ErrorCode.unreleased_instance_id
    assert refusal(crew.join, "one", instance="i") is ErrorCode.unreleased_instance_id
    assert refusal(crew.beat, "two", 2, instance="i") is ErrorCode.fenced_instance_id
    assert refusal(crew.leave, "two", instance="i") is ErrorCode.fenced_instance_id
    assert refusal(crew.beat, "one", 2, instance="j") is ErrorCode.unknown_member_id
    assert crew.leave("one", instance="i") == (-1, None)
    assert crew.join("two", instance="i")[1] == {"a": (0, 1, 2, 3)}


def test_the_member_whose_place_was_taken_is_fenced(crew: Crew) -> None:
    crew.join("one", instance="i")
    crew.leave("one", instance="i", for_good=False)
    crew.join("two", instance="i")
    assert refusal(crew.beat, "one", 2, instance="i") is ErrorCode.fenced_instance_id
    assert refusal(crew.beat, "one", 2) is ErrorCode.unknown_member_id


# --- time -------------------------------------------------------------------------------------------------------------


def test_a_silent_member_is_removed_when_its_session_ends(crew: Crew) -> None:
    crew.join("one")
    crew.tick(after_ms=SESSION_TIMEOUT_MS - 1)
    assert crew.beat("one", 2) == (2, None)
    crew.tick(after_ms=SESSION_TIMEOUT_MS - 1)
    assert list(crew.group.members) == ["one"]
    crew.tick(after_ms=1)
    assert crew.status() == "Empty"
    assert refusal(crew.beat, "one", 2) is ErrorCode.unknown_member_id


def test_a_member_that_does_not_give_up_in_its_rebalance_timeout_is_removed(crew: Crew) -> None:
    crew.join("one", rebalance_timeout_ms=10_000)
    crew.join("two")
    crew.beat("one", 2)
    assert crew.group.members["one"].state is MemberState.UNREVOKED_PARTITIONS
    crew.tick(after_ms=5_000, beat={"one": 2, "two": 3})
    crew.tick(after_ms=4_999, beat={"one": 2, "two": 3})
    crew.tick(after_ms=1)
    assert list(crew.group.members) == ["two"]
    assert crew.beat("two", 3)[1] == {"a": (0, 1, 2, 3)}


def test_a_static_member_that_is_away_is_not_waited_for_to_give_up(crew: Crew) -> None:
    crew.join("one", instance="i", rebalance_timeout_ms=10_000)
    crew.join("two")
    crew.beat("one", 2, instance="i")
    crew.leave("one", instance="i", for_good=False)
    crew.tick(after_ms=10_000, beat={"two": 3})
    assert crew.group.members["one"].member_epoch == -2
    crew.join("three", instance="i")
    assert crew.held("three") == [("a", 0), ("a", 1)]


def test_the_session_of_a_static_member_ends_with_the_place_that_its_successor_took(crew: Crew) -> None:
    crew.join("one", instance="i")
    crew.leave("one", instance="i", for_good=False)
    crew.tick(after_ms=1_000)
    epoch, _ = crew.join("two", instance="i")
    crew.tick(after_ms=SESSION_TIMEOUT_MS - 1_000, beat={"two": epoch})
    assert list(crew.group.members) == ["two"]
    crew.tick(after_ms=SESSION_TIMEOUT_MS)
    assert list(crew.group.members) == []


def test_a_member_that_gave_up_in_time_stays(crew: Crew) -> None:
    crew.join("one", rebalance_timeout_ms=10_000)
    crew.join("two")
    crew.beat("one", 2)
    assert crew.beat("one", 2, owned={"a": (0, 1)}) == (3, None)
    crew.tick(after_ms=20_000, beat={"one": 3, "two": 3})
    assert set(crew.group.members) == {"one", "two"}


def test_sessions_start_anew_after_a_crash(crew: Crew) -> None:
    crew.settle("one", "two")
    epoch = crew.group.members["one"].member_epoch
    crew.office.clock.advance(by_ms=3_600_000)
    crew.office.restart()
    crew.tick(after_ms=SESSION_TIMEOUT_MS - 1)
    assert crew.beat("one", epoch) == (epoch, None)
    crew.tick(after_ms=1)
    assert list(crew.group.members) == ["one"]


# --- the disk, and the other protocol ---------------------------------------------------------------------------------


def test_what_cannot_be_written_did_not_happen(crew: Crew) -> None:
    crew.office.journal.is_full = True
    assert refusal(crew.join, "one") is ErrorCode.coordinator_not_available
    assert crew.office.coordinator.groups() == ()
    crew.office.journal.is_full = False
    crew.join("one")
    crew.office.journal.is_full = True
    crew.tick(after_ms=SESSION_TIMEOUT_MS)
    assert list(crew.group.members) == ["one"]
    crew.office.journal.is_full = False
    crew.tick(after_ms=1)
    assert crew.status() == "Empty"


def test_a_group_changes_its_protocol_when_it_is_empty(crew: Crew, office: Office) -> None:
    crew = type(crew)(office)
    member_id = office.joined("g")
    assert refusal(crew.join, "one") is ErrorCode.group_id_not_found
    office.coordinator.leave("g", [(member_id, None)])
    crew.join("one")
    assert crew.status() == "Stable"
    office.restart()
    assert crew.status() == "Stable"
    with pytest.raises(AssertionError, match="inconsistent_group_protocol"):
        office.joined("g")
    crew.leave("one")
    office.joined("g")
    office.restart()
    assert office.coordinator.groups()[0].members.status.value == "Stable"


def test_a_tool_removes_members_by_leave_group(crew: Crew) -> None:
    crew.settle("one", "two", instances={"one": "i"})
    gone = crew.office.coordinator.leave("g", [("", "i"), ("two", None), ("two", None), ("", "j")])
    unknown = ErrorCode.unknown_member_id
    assert gone == (ErrorCode.none, [ErrorCode.none, ErrorCode.none, unknown, unknown])
    assert crew.status() == "Empty"
    assert crew.office.coordinator.delete("g") is ErrorCode.none
