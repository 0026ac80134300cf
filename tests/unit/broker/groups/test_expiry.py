"""Offsets are forgotten when nobody has needed them for the retention, and groups when they have nothing left."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tallystick.broker.groups.classic.group import ClassicGroup
from tallystick.broker.groups.records import CommittedOffset
from tallystick.broker.groups.requests.offsets import Committer
from tallystick.wire.errors import ErrorCode

if TYPE_CHECKING:
    from tests.unit.broker.groups.conftest import Office

MINUTE_MS = 60_000
RETENTION_MS = 10 * MINUTE_MS


@pytest.fixture
def office(make_office: Callable[..., Office]) -> Office:
    return make_office(offsets_retention_minutes=10, offsets_retention_check_interval_ms=MINUTE_MS)


def commit(office: Office, *, partition: int = 0, member_id: str = "", generation_id: int = -1) -> None:
    errors = office.coordinator.offsets.commit(
        "g", Committer(member_id=member_id, generation_id=generation_id), [CommittedOffset("a", partition, 7)]
    )
    assert errors == {("a", partition): ErrorCode.none}


def let_pass(office: Office, ms: int) -> None:
    """Time in steps of half a minute, with a tick at each; a member heartbeats at each."""
    end_ms = office.clock.now_ms() + ms
    while office.clock.now_ms() < end_ms:
        office.clock.advance(by_ms=min(MINUTE_MS // 12, end_ms - office.clock.now_ms()))
        for group in office.coordinator.groups():
            assert isinstance(group.members, ClassicGroup)
            for member_id in group.members.members:
                office.coordinator.classic.heartbeat(
                    "g", member_id=member_id, group_instance_id=None, generation_id=group.members.generation_id
                )
        office.coordinator.tick(office.clock.now_ms())


def kept(office: Office) -> list[int]:
    return [row.partition for row in office.coordinator.offsets.fetch("g", None, require_stable=False)]


def test_an_offset_of_a_group_without_members_expires_by_the_time_of_its_commit(office: Office) -> None:
    commit(office, partition=0)
    let_pass(office, RETENTION_MS // 2)
    commit(office, partition=1)
    let_pass(office, RETENTION_MS // 2 + MINUTE_MS)
    assert kept(office) == [1]
    let_pass(office, RETENTION_MS // 2)
    assert office.coordinator.groups() == ()


def test_an_offset_that_is_committed_again_lives_on(office: Office) -> None:
    commit(office)
    let_pass(office, RETENTION_MS - MINUTE_MS)
    commit(office)
    let_pass(office, RETENTION_MS - MINUTE_MS)
    assert kept(office) == [0]


def test_offsets_of_a_topic_that_a_member_reads_do_not_expire(office: Office) -> None:
    member_id = office.joined(topics=("a",))
    commit(office, member_id=member_id, generation_id=1)
    let_pass(office, 3 * RETENTION_MS)
    assert kept(office) == [0]


def test_offsets_of_a_topic_that_the_members_no_longer_read_expire(office: Office) -> None:
    member_id = office.joined(topics=("b",))
    commit(office, member_id=member_id, generation_id=1)
    let_pass(office, RETENTION_MS + MINUTE_MS)
    assert kept(office) == []
    assert office.coordinator.group("g") is not None


def test_offsets_of_members_that_are_no_consumers_do_not_expire(office: Office) -> None:
    member_id = office.joined(protocol_type="connect", topics=())
    commit(office, member_id=member_id, generation_id=1)
    let_pass(office, 3 * RETENTION_MS)
    assert kept(office) == [0]


def test_offsets_of_a_group_that_emptied_expire_from_then_on_also_over_a_restart(office: Office) -> None:
    member_id = office.joined()
    commit(office, member_id=member_id, generation_id=1)
    let_pass(office, 2 * RETENTION_MS)
    office.coordinator.classic.leave("g", [(member_id, None)])
    let_pass(office, RETENTION_MS - MINUTE_MS)
    office.restart()
    office.coordinator.tick(office.clock.now_ms())
    assert kept(office) == [0]
    let_pass(office, 2 * MINUTE_MS)
    assert kept(office) == []
    assert office.coordinator.groups() == ()


def test_what_an_open_transaction_may_still_change_never_expires(office: Office) -> None:
    commit(office, partition=0)
    commit(office, partition=1)
    office.coordinator.offsets.commit_in_transaction(
        "g", Committer(), [CommittedOffset("a", 0, 8)], producer_id=1, producer_epoch=0
    )
    let_pass(office, 3 * RETENTION_MS)
    assert kept(office) == [0]
    office.restart()
    office.coordinator.complete_transaction("g", 1, commit=False)
    let_pass(office, 2 * MINUTE_MS)
    assert office.coordinator.groups() == ()


def test_a_group_that_only_waits_for_a_transaction_is_not_removed(office: Office) -> None:
    office.coordinator.offsets.commit_in_transaction(
        "g", Committer(), [CommittedOffset("a", 0, 8)], producer_id=1, producer_epoch=0
    )
    let_pass(office, 3 * RETENTION_MS)
    office.coordinator.complete_transaction("g", 1, commit=True)
    assert kept(office) == [0]


def test_a_full_disk_puts_the_removal_off(office: Office) -> None:
    commit(office)
    office.journal.is_full = True
    let_pass(office, RETENTION_MS + MINUTE_MS)
    assert kept(office) == [0]
    office.journal.is_full = False
    let_pass(office, MINUTE_MS)
    assert kept(office) == []


def test_offsets_are_deleted_of_topics_that_no_member_reads(office: Office) -> None:
    member_id = office.joined(topics=("b",))
    commit(office, member_id=member_id, generation_id=1)
    assert office.coordinator.offsets.delete("g", [("a", 0), ("c", 0)]) == (
        ErrorCode.none,
        {("a", 0): ErrorCode.none, ("c", 0): ErrorCode.unknown_topic_or_partition},
    )
    assert kept(office) == []


def test_offsets_of_a_topic_that_a_member_reads_are_not_deleted(office: Office) -> None:
    member_id = office.joined(topics=("a",))
    commit(office, member_id=member_id, generation_id=1)
    assert office.coordinator.offsets.delete("g", [("a", 0)]) == (
        ErrorCode.none,
        {("a", 0): ErrorCode.group_subscribed_to_topic},
    )
    assert kept(office) == [0]


def test_offsets_of_members_that_are_no_consumers_are_not_deleted(office: Office) -> None:
    office.joined(protocol_type="connect")
    assert office.coordinator.offsets.delete("g", [("a", 0)]) == (ErrorCode.non_empty_group, {})
