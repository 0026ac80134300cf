"""Joining, syncing, staying and leaving, as the classic protocol has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tallystick.broker.groups.classic.group import TRANSITIONS
from tallystick.broker.groups.classic.members import GroupStatus
from tallystick.broker.groups.classic.staying import check_commit
from tallystick.errors import IllegalTransition
from tallystick.wire.errors import ErrorCode

if TYPE_CHECKING:
    from tests.unit.broker.groups.conftest import Meeting

SESSION_TIMEOUT_MS, REBALANCE_TIMEOUT_MS = 10_000, 30_000


def status(meeting: Meeting) -> str:
    return meeting.machine.status.value


# --- joining and syncing ----------------------------------------------------------------------------------------------


def test_a_first_member_leads_the_first_generation(meeting: Meeting) -> None:
    reply = meeting.joined(meeting.join())
    assert (reply.error, reply.generation_id, reply.leader_id) == (ErrorCode.none, 1, reply.member_id)
    assert [member.metadata for member in reply.members] == [b"topics"]
    assert status(meeting) == "CompletingRebalance"


def test_a_dynamic_member_comes_back_with_the_id_that_it_was_given(meeting: Meeting) -> None:
    invited = meeting.joined(meeting.join(requires_known_member_id=True))
    assert invited.error is ErrorCode.member_id_required
    assert meeting.machine.members == {}
    reply = meeting.joined(meeting.join(invited.member_id, requires_known_member_id=True))
    assert (reply.error, reply.member_id) == (ErrorCode.none, invited.member_id)


def test_a_generation_waits_for_the_invited_but_not_longer_than_the_invitation_lasts(meeting: Meeting) -> None:
    meeting.join(requires_known_member_id=True)
    other = meeting.join()
    assert meeting.waits(other)
    meeting.tick(after_ms=SESSION_TIMEOUT_MS)
    assert meeting.joined(other).generation_id == 1


def test_an_initial_delay_lets_members_gather_in_one_generation(make_meeting: type[Meeting]) -> None:
    meeting = make_meeting(group_initial_rebalance_delay_ms=3_000)
    ticket = meeting.join()
    meeting.tick(after_ms=2_999)
    assert meeting.waits(ticket)
    meeting.tick(after_ms=1)
    assert meeting.joined(ticket).generation_id == 1


def test_who_comes_during_the_initial_delay_makes_it_longer_up_to_the_rebalance_timeout(
    make_meeting: type[Meeting],
) -> None:
    meeting = make_meeting(group_initial_rebalance_delay_ms=3_000)
    tickets = [meeting.join(), meeting.join()]
    meeting.tick(after_ms=3_000)
    tickets.append(meeting.join())
    meeting.tick(after_ms=3_000)
    assert all(map(meeting.waits, tickets))
    meeting.tick(after_ms=3_000)
    assert [meeting.joined(ticket).generation_id for ticket in tickets] == [1, 1, 1]
    crowded = make_meeting(group_initial_rebalance_delay_ms=3_000)
    tickets = [crowded.join()]
    while crowded.now_ms < REBALANCE_TIMEOUT_MS - 2_000:
        crowded.tick(after_ms=2_000)
        tickets.append(crowded.join())
    assert all(map(crowded.waits, tickets))
    crowded.tick(after_ms=2_000)
    assert {crowded.joined(ticket).generation_id for ticket in tickets} == {1}


def test_followers_wait_for_the_leader_and_each_gets_its_own_assignment(meeting: Meeting) -> None:
    leader = meeting.joined(meeting.join()).member_id
    ticket = meeting.join()
    meeting.join(leader)
    follower = meeting.joined(ticket).member_id
    assert meeting.joined(ticket).members == ()
    waiting = meeting.sync(follower)
    assert meeting.waits(waiting)
    own = meeting.sync(leader, to={leader: b"first", follower: b"second"})
    assert (meeting.synced(own).assignment, meeting.synced(waiting).assignment) == (b"first", b"second")
    assert status(meeting) == "Stable"


def test_a_follower_that_syncs_late_gets_its_assignment_from_the_stable_group(meeting: Meeting) -> None:
    first, second = meeting.stable(None, None)
    assert meeting.synced(meeting.sync(second)).assignment == f"to {second}".encode()
    assert meeting.synced(meeting.sync(first, to={"x": b"ignored"})).assignment == f"to {first}".encode()


def test_a_newcomer_makes_the_others_rejoin(meeting: Meeting) -> None:
    (member,) = meeting.stable(None)
    newcomer = meeting.join()
    assert meeting.waits(newcomer)
    assert meeting.heartbeat(member) is ErrorCode.rebalance_in_progress
    assert meeting.synced(meeting.sync(member)).error is ErrorCode.rebalance_in_progress
    again = meeting.join(member)
    assert meeting.joined(again).generation_id == meeting.joined(newcomer).generation_id == 2
    assert meeting.joined(again).leader_id == member


def test_who_does_not_rejoin_in_time_is_left_behind(meeting: Meeting) -> None:
    (slow,) = meeting.stable(None)
    newcomer = meeting.join()
    for _ in range(4):
        meeting.tick(after_ms=SESSION_TIMEOUT_MS - 1)
        meeting.heartbeat(slow)
    assert meeting.joined(newcomer).leader_id == meeting.joined(newcomer).member_id
    assert meeting.heartbeat(slow) is ErrorCode.unknown_member_id


def test_who_does_not_sync_in_time_is_removed(meeting: Meeting) -> None:
    first, second = meeting.stable(None, None)
    meeting.join(first)
    joined = meeting.join(second)
    assert meeting.joined(joined).generation_id == 3
    waiting = meeting.sync(second)
    for _ in range(4):
        meeting.tick(after_ms=SESSION_TIMEOUT_MS - 1)
        meeting.heartbeat(first)
    assert meeting.synced(waiting).error is ErrorCode.rebalance_in_progress
    assert set(meeting.machine.members) == {second}


def test_a_newcomer_while_the_leader_assigns_makes_everybody_start_again(meeting: Meeting) -> None:
    first, second = meeting.stable(None, None)
    meeting.join(first)
    meeting.join(second)
    waiting = meeting.sync(second)
    meeting.join()
    assert meeting.synced(waiting).error is ErrorCode.rebalance_in_progress
    assert status(meeting) == "PreparingRebalance"


def test_a_follower_that_rejoins_unchanged_gets_the_present_generation_and_a_leader_starts_a_new_one(
    meeting: Meeting,
) -> None:
    leader, follower = meeting.stable(None, None)
    assert meeting.joined(meeting.join(follower)).generation_id == 2
    assert meeting.waits(meeting.join(leader))


def test_a_follower_that_rejoins_with_another_subscription_starts_a_new_generation(meeting: Meeting) -> None:
    _, follower = meeting.stable(None, None)
    assert meeting.waits(meeting.join(follower, protocols=(("range", b"other topics"),)))


def test_a_member_that_asks_again_before_its_answer_is_answered_once_on_each(meeting: Meeting) -> None:
    (member,) = meeting.stable(None)
    newcomer = meeting.join()
    newcomer_id = next(m for m in meeting.machine.members if m != member)
    again = meeting.join(newcomer_id)
    assert meeting.joined(newcomer).error is ErrorCode.rebalance_in_progress
    meeting.join(member)
    assert meeting.joined(again).generation_id == 2


def test_the_protocol_with_most_votes_among_the_shared_is_chosen(meeting: Meeting) -> None:
    first = meeting.joined(meeting.join(protocols=(("sticky", b""), ("range", b"")))).member_id
    tickets = [
        meeting.join(protocols=(("range", b""), ("sticky", b""))),
        meeting.join(protocols=(("x", b""), ("range", b""), ("sticky", b""))),
    ]
    meeting.join(first, protocols=(("sticky", b""), ("range", b"")))
    assert [meeting.joined(ticket).protocol_name for ticket in tickets] == ["range", "range"]


@pytest.mark.parametrize(
    "options",
    [{"protocols": (("other", b""),)}, {"protocol_type": "connect"}, {"protocols": ()}, {"protocol_type": ""}],
)
def test_a_member_that_shares_no_protocol_is_refused(meeting: Meeting, options: dict[str, Any]) -> None:
    meeting.stable(None)
    assert meeting.joined(meeting.join(**options)).error is ErrorCode.inconsistent_group_protocol


@pytest.mark.parametrize("requires_known_member_id", [True, False])
def test_a_full_group_takes_no_more_members_but_static_ones_come_back(
    make_meeting: Callable[..., Meeting], requires_known_member_id: bool
) -> None:
    meeting = make_meeting(group_max_size=2)
    meeting.stable("one", None)
    refused = meeting.joined(meeting.join(requires_known_member_id=requires_known_member_id))
    assert refused.error is ErrorCode.group_max_size_reached
    assert meeting.joined(meeting.join(instance="one")).error is ErrorCode.none


def test_a_sync_of_another_generation_or_protocol_is_refused(meeting: Meeting) -> None:
    (member,) = meeting.stable(None)
    assert meeting.synced(meeting.sync(member, 7)).error is ErrorCode.illegal_generation
    assert meeting.synced(meeting.sync("nobody")).error is ErrorCode.unknown_member_id


# --- staying and leaving ----------------------------------------------------------------------------------------------


def test_heartbeats_keep_a_session_alive_and_silence_ends_it(meeting: Meeting) -> None:
    (member,) = meeting.stable(None)
    for _ in range(3):
        meeting.tick(after_ms=SESSION_TIMEOUT_MS - 1)
        assert meeting.heartbeat(member) is ErrorCode.none
    meeting.tick(after_ms=SESSION_TIMEOUT_MS)
    assert status(meeting) == "Empty"
    assert meeting.heartbeat(member) is ErrorCode.unknown_member_id


def test_heartbeats_of_another_generation_are_refused(meeting: Meeting) -> None:
    (member,) = meeting.stable(None)
    assert meeting.heartbeat(member, generation_id=0) is ErrorCode.illegal_generation


def test_the_last_to_leave_leaves_an_empty_group_that_keeps_its_generation(meeting: Meeting) -> None:
    (member,) = meeting.stable(None)
    assert meeting.leave(member) is ErrorCode.none
    assert (status(meeting), meeting.machine.generation_id) == ("Empty", 2)
    assert meeting.joined(meeting.join()).generation_id == 3


def test_leaving_starts_a_rebalance_of_those_who_stay(meeting: Meeting) -> None:
    leader, follower = meeting.stable(None, None)
    assert meeting.leave(leader) is ErrorCode.none
    assert meeting.heartbeat(follower) is ErrorCode.rebalance_in_progress
    assert meeting.joined(meeting.join(follower)).leader_id == follower


def test_leaving_while_others_wait_completes_their_generation(meeting: Meeting) -> None:
    first, second = meeting.stable(None, None)
    waiting = meeting.join(first)
    assert meeting.waits(waiting)
    meeting.leave(second)
    assert meeting.joined(waiting).generation_id == 3


def test_an_invited_member_may_leave_before_it_came(meeting: Meeting) -> None:
    invited = meeting.joined(meeting.join(requires_known_member_id=True)).member_id
    waiting = meeting.join()
    assert meeting.leave(invited) is ErrorCode.none
    assert meeting.joined(waiting).generation_id == 1


def test_a_stranger_cannot_leave(meeting: Meeting) -> None:
    meeting.stable(None)
    assert meeting.leave("nobody") is ErrorCode.unknown_member_id
    assert meeting.leave("", instance="nowhere") is ErrorCode.unknown_member_id


# --- static members ---------------------------------------------------------------------------------------------------


def test_a_restarted_static_member_gets_its_assignment_back_without_a_rebalance(meeting: Meeting) -> None:
    first, second = meeting.stable("one", "two")
    reply = meeting.joined(meeting.join(instance="two"))
    assert (reply.error, reply.generation_id, reply.leader_id) == (ErrorCode.none, 2, first)
    assert reply.member_id not in {first, second}
    synced = meeting.synced(meeting.sync(reply.member_id, instance="two"))
    assert synced.assignment == f"to {second}".encode()
    assert meeting.heartbeat(first, instance="one") is ErrorCode.none


def test_the_replaced_static_member_is_fenced_everywhere(meeting: Meeting) -> None:
    _, old = meeting.stable("one", "two")
    meeting.join(instance="two")
    fenced = ErrorCode.fenced_instance_id
    assert meeting.heartbeat(old, instance="two") is fenced
    assert meeting.synced(meeting.sync(old, instance="two")).error is fenced
    assert meeting.joined(meeting.join(old, instance="two")).error is fenced
    assert meeting.leave(old, instance="two") is fenced
    assert check_commit(meeting.machine, old, "two", 2, 0, transactional=True) is fenced
    assert check_commit(meeting.machine, old, None, 2, 0, transactional=True) is ErrorCode.unknown_member_id


def test_a_replaced_member_that_waits_is_told(meeting: Meeting) -> None:
    first, second = meeting.stable("one", "two")
    waiting_to_join = meeting.join(first, instance="one")
    meeting.join(instance="one")
    assert meeting.joined(waiting_to_join).error is ErrorCode.fenced_instance_id
    meeting.join(second, instance="two")
    waiting_to_sync = meeting.sync(second, instance="two")
    meeting.join(instance="two")
    assert meeting.synced(waiting_to_sync).error is ErrorCode.fenced_instance_id


@pytest.mark.parametrize("supports_skipping_assignment", [True, False])
def test_a_returning_static_leader_does_not_assign_anew(meeting: Meeting, supports_skipping_assignment: bool) -> None:
    old, _ = meeting.stable("one", "two")
    reply = meeting.joined(meeting.join(instance="one", supports_skipping_assignment=supports_skipping_assignment))
    assert meeting.machine.leader_id == reply.member_id
    assert reply.skip_assignment is supports_skipping_assignment
    assert (reply.leader_id == reply.member_id) is supports_skipping_assignment
    assert (reply.leader_id == old) is not supports_skipping_assignment
    assert meeting.synced(meeting.sync(reply.member_id, instance="one")).assignment == f"to {old}".encode()


def test_a_static_member_that_returns_while_the_leader_assigns_starts_a_new_generation(meeting: Meeting) -> None:
    first, second = meeting.stable("one", "two")
    meeting.join(first, instance="one")
    meeting.join(second, instance="two")
    assert status(meeting) == "CompletingRebalance"
    assert meeting.waits(meeting.join(instance="two"))
    assert status(meeting) == "PreparingRebalance"


def test_a_static_member_that_returns_with_another_protocol_starts_a_new_generation(meeting: Meeting) -> None:
    protocols = (("range", b""), ("sticky", b""))
    meeting.join(instance="one", protocols=protocols)
    (only,) = meeting.machine.members
    meeting.sync(only, instance="one")
    reply = meeting.joined(meeting.join(instance="one", protocols=protocols[::-1]))
    assert (reply.generation_id, reply.protocol_name) == (2, "sticky")


def test_a_silent_static_member_keeps_its_place_in_a_rebalance_until_its_session_ends(meeting: Meeting) -> None:
    first, silent = meeting.stable("one", "two")
    waiting = meeting.join(first, instance="one")
    meeting.tick(after_ms=SESSION_TIMEOUT_MS - 1)
    assert meeting.waits(waiting)
    assert silent in meeting.machine.members
    meeting.tick(after_ms=1)
    assert meeting.joined(waiting).generation_id == 3
    assert silent not in meeting.machine.members


def test_a_static_member_that_misses_a_rebalance_keeps_its_place_while_its_session_lasts(meeting: Meeting) -> None:
    first, silent = meeting.stable("one", "two")
    for member in meeting.machine.members.values():
        member.rebalance_timeout_ms = 5_000
    waiting = meeting.join(first, instance="one", rebalance_timeout_ms=5_000)
    dynamic = meeting.join(rebalance_timeout_ms=5_000)
    meeting.tick(after_ms=5_000)
    assert meeting.joined(waiting).generation_id == meeting.joined(dynamic).generation_id == 3
    assert silent in {member.member_id for member in meeting.joined(waiting).members}


def test_a_static_member_may_be_removed_by_its_instance_id_alone(meeting: Meeting) -> None:
    meeting.stable("one")
    assert meeting.leave("", instance="one") is ErrorCode.none
    assert status(meeting) == "Empty"


# --- who may commit ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("member", "generation_id", "transactional", "expected"),
    [
        ("member", 1, False, ErrorCode.none),
        ("member", 1, True, ErrorCode.none),
        ("member", 0, True, ErrorCode.illegal_generation),
        ("member", -1, True, ErrorCode.illegal_generation),
        ("stranger", 1, True, ErrorCode.unknown_member_id),
        ("", 1, True, ErrorCode.unknown_member_id),
        ("", -1, False, ErrorCode.unknown_member_id),
        ("", -1, True, ErrorCode.none),  # rule 2: no member, no check
    ],
)
def test_commits_are_fenced_by_member_and_generation(
    meeting: Meeting, member: str, generation_id: int, transactional: bool, expected: ErrorCode
) -> None:
    (member_id,) = meeting.stable(None)
    named = member_id if member == "member" else member
    assert check_commit(meeting.machine, named, None, generation_id, 0, transactional=transactional) is expected


def test_an_empty_group_takes_commits_of_nobody_in_particular(meeting: Meeting) -> None:
    assert check_commit(meeting.machine, "", None, -1, 0, transactional=False) is ErrorCode.none
    assert check_commit(meeting.machine, "late", None, 3, 0, transactional=False) is ErrorCode.unknown_member_id


def test_a_plain_commit_while_the_leader_assigns_is_told_to_wait_and_a_transactional_one_is_not(
    meeting: Meeting,
) -> None:
    member = meeting.joined(meeting.join()).member_id
    error = check_commit(meeting.machine, member, None, 1, 0, transactional=False)
    assert error is ErrorCode.rebalance_in_progress
    assert check_commit(meeting.machine, member, None, 1, 0, transactional=True) is ErrorCode.none


def test_a_commit_counts_as_a_heartbeat(meeting: Meeting) -> None:
    (member,) = meeting.stable(None)
    meeting.tick(after_ms=SESSION_TIMEOUT_MS - 1)
    check_commit(meeting.machine, member, None, 1, meeting.now_ms, transactional=True)
    meeting.tick(after_ms=SESSION_TIMEOUT_MS - 1)
    assert member in meeting.machine.members


# --- recovery and full disks ------------------------------------------------------------------------------------------


def test_the_members_of_a_stable_group_go_on_after_a_recovery(meeting: Meeting, make_meeting: type[Meeting]) -> None:
    first, second = meeting.stable("one", None)
    recovered = make_meeting()
    recovered.machine.replay(meeting.records[-1])  # type: ignore[arg-type]
    recovered.now_ms = 5_000_000
    recovered.machine.start_sessions(recovered.now_ms)
    recovered.tick(after_ms=SESSION_TIMEOUT_MS - 1)
    assert recovered.heartbeat(first, instance="one") is ErrorCode.none
    assert recovered.heartbeat(second) is ErrorCode.none
    assert recovered.synced(recovered.sync(second)).assignment == f"to {second}".encode()
    assert recovered.machine.leader_id == first


def test_a_member_that_does_not_show_itself_after_a_recovery_is_removed(
    meeting: Meeting, make_meeting: type[Meeting]
) -> None:
    meeting.stable(None)
    recovered = make_meeting()
    recovered.machine.replay(meeting.records[-1])  # type: ignore[arg-type]
    recovered.machine.start_sessions(0)
    recovered.tick(after_ms=SESSION_TIMEOUT_MS)
    assert status(recovered) == "Empty"


def test_an_assignment_that_cannot_be_written_is_not_handed_out(meeting: Meeting) -> None:
    member = meeting.joined(meeting.join()).member_id
    meeting.is_full = True
    with pytest.raises(OSError, match="no space"):
        meeting.sync(member, to={member: b"all"})
    assert status(meeting) == "CompletingRebalance"
    meeting.is_full = False
    assert meeting.synced(meeting.sync(member, to={member: b"all"})).assignment == b"all"


# --- the table --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", GroupStatus)
@pytest.mark.parametrize("after", GroupStatus)
def test_only_the_tables_transitions_are_made(meeting: Meeting, before: GroupStatus, after: GroupStatus) -> None:
    meeting.machine.status = before
    if (before, after) in TRANSITIONS:
        meeting.machine.change(after)
        assert meeting.machine.status is after
    else:
        with pytest.raises(IllegalTransition):
            meeting.machine.change(after)
