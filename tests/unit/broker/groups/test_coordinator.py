"""Members that wait, and what the coordinator asks before it lets a group decide."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from tallystick.broker.groups.classic.members import Join, Sync
from tallystick.wire.errors import ErrorCode

if TYPE_CHECKING:
    from tests.unit.broker.groups.conftest import Office

Answer = TypeVar("Answer")


def join(member_id: str = "", fresh: str = "fresh", **options: Any) -> Join:
    fields: dict[str, Any] = {"session_timeout_ms": 10_000} | options
    return Join(
        member_id=member_id,
        fresh_member_id=fresh,
        client_id="client",
        client_host="127.0.0.1",
        rebalance_timeout_ms=30_000,
        protocol_type="consumer",
        protocols=(("range", b""),),
        requires_known_member_id=False,
        supports_skipping_assignment=False,
        **fields,
    )


def run(story: Coroutine[Any, Any, Answer]) -> Answer:
    return asyncio.run(asyncio.wait_for(story, timeout=10))


def test_two_members_meet_in_one_generation_and_get_their_assignments(office: Office) -> None:
    async def story() -> None:
        groups = office.coordinator
        one = await groups.classic.join("g", join(fresh="one"))
        newcomer = asyncio.create_task(groups.classic.join("g", join(fresh="two")))
        await asyncio.sleep(0)
        assert not newcomer.done()
        again = await groups.classic.join("g", join("one"))
        two = await newcomer
        assert one.generation_id == 1
        assert again.generation_id == two.generation_id == 2
        follower = asyncio.create_task(groups.classic.sync("g", Sync(member_id="two", generation_id=2)))
        await asyncio.sleep(0)
        leader = await groups.classic.sync(
            "g", Sync(member_id="one", generation_id=2, assignments=(("one", b"1"), ("two", b"2")))
        )
        assert (leader.assignment, (await follower).assignment) == (b"1", b"2")

    run(story())


def test_a_member_that_hangs_up_while_it_waits_is_no_trouble_to_the_others(office: Office) -> None:
    async def story() -> None:
        groups = office.coordinator
        await groups.classic.join("g", join(fresh="one"))
        gone = asyncio.create_task(groups.classic.join("g", join(fresh="two")))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert (await groups.classic.join("g", join("one"))).generation_id == 2
        assert groups.classic._waiting == {}

    run(story())


def test_a_tick_lets_waiting_members_go_on_when_a_session_ends(office: Office) -> None:
    async def story() -> None:
        groups = office.coordinator
        await groups.classic.join("g", join(fresh="one"))
        newcomer = asyncio.create_task(groups.classic.join("g", join(fresh="two")))
        await asyncio.sleep(0)
        office.clock.advance(by_ms=10_000)
        groups.tick(office.clock.now_ms())
        assert (await newcomer).leader_id == "two"

    run(story())


@pytest.mark.parametrize(
    ("group_id", "request_", "expected"),
    [
        ("", join(), ErrorCode.invalid_group_id),
        ("g", join(session_timeout_ms=5_999), ErrorCode.invalid_session_timeout),
        ("g", join(session_timeout_ms=1_800_001), ErrorCode.invalid_session_timeout),
        ("g", join("nobody"), ErrorCode.unknown_member_id),
    ],
)
def test_a_join_that_cannot_be_is_refused_and_makes_no_group(
    office: Office, group_id: str, request_: Join, expected: ErrorCode
) -> None:
    assert run(office.coordinator.classic.join(group_id, request_)).error is expected
    assert office.coordinator.groups() == ()


def test_what_is_asked_of_an_unknown_group_is_answered_as_to_a_stranger(office: Office) -> None:
    groups = office.coordinator
    unknown = ErrorCode.unknown_member_id
    assert run(groups.classic.sync("g", Sync(member_id="m", generation_id=1))).error is unknown
    assert groups.classic.heartbeat("g", member_id="m", group_instance_id=None, generation_id=1) is unknown
    assert groups.classic.leave("g", [("m", None)]) == (ErrorCode.none, [unknown])
    for error in (
        run(groups.classic.sync("", Sync(member_id="m", generation_id=1))).error,
        groups.classic.heartbeat("", member_id="m", group_instance_id=None, generation_id=1),
        groups.classic.leave("", [("m", None)])[0],
    ):
        assert error is ErrorCode.invalid_group_id


def test_a_full_disk_is_told_to_the_leader_who_may_sync_again(office: Office) -> None:
    groups = office.coordinator
    run(groups.classic.join("g", join(fresh="one")))
    request = Sync(member_id="one", generation_id=1, assignments=(("one", b"1"),))
    office.journal.is_full = True
    assert run(groups.classic.sync("g", request)).error is ErrorCode.coordinator_not_available
    office.journal.is_full = False
    assert run(groups.classic.sync("g", request)).assignment == b"1"


def test_a_stable_group_goes_on_after_a_crash_with_the_same_members_and_generation(office: Office) -> None:
    run(office.coordinator.classic.join("g", join(fresh="one")))
    run(office.coordinator.classic.sync("g", Sync(member_id="one", generation_id=1, assignments=(("one", b"1"),))))
    office.clock.advance(by_ms=3_600_000)
    office.restart()
    groups = office.coordinator
    groups.tick(office.clock.now_ms())
    assert groups.classic.heartbeat("g", member_id="one", group_instance_id=None, generation_id=1) is ErrorCode.none
    assert run(groups.classic.sync("g", Sync(member_id="one", generation_id=1))).assignment == b"1"
    snapshot = list(groups.snapshot())
    assert snapshot == office.journal.records


def test_a_group_with_members_is_not_deleted(office: Office) -> None:
    run(office.coordinator.classic.join("g", join(fresh="one")))
    assert office.coordinator.delete("g") is ErrorCode.non_empty_group
    office.coordinator.classic.leave("g", [("one", None)])
    assert office.coordinator.delete("g") is ErrorCode.none
