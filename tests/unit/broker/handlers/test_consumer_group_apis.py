"""The APIs of consumer groups, and what others say of such groups: through kio's bytes and back."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from tests.support.catalog import topic_id_of
from tests.unit.broker.handlers.talk import MINUTE, SECONDS_5, Talk, in_every_version, rows

from tallystick.broker.handlers import (
    consumer_group_describe,
    consumer_group_heartbeat,
    describe_groups,
    list_groups,
    offset_commit,
    offset_fetch,
)


@pytest.fixture
def talk() -> Talk:
    return Talk()


@in_every_version(consumer_group_heartbeat.API)
def test_consumer_group_heartbeat(talk: Talk, version: int) -> None:
    answer = talk.beat(version, member_epoch=0, rebalance_timeout=MINUTE, topics=("a",), topic_partitions=())
    assert (answer.error_code.name, answer.member_epoch, answer.heartbeat_interval) == ("none", 2, SECONDS_5)
    (given,) = answer.assignment.topic_partitions
    assert (given.topic_id, given.partitions) == (topic_id_of("a"), (0, 1))
    answer = talk.beat(version, member_epoch=7)
    assert (answer.error_code.name, answer.member_id, answer.assignment) == ("fenced_member_epoch", None, None)


def test_a_member_that_brings_no_id_is_given_one_in_version_0(talk: Talk) -> None:
    fields: dict[str, Any] = {"member_epoch": 0, "rebalance_timeout": MINUTE, "topics": ("a",), "topic_partitions": ()}
    assert talk.beat(0, member_id="", **fields).member_id
    assert talk.beat(1, member_id="", **fields).error_code.name == "invalid_request"


@in_every_version(consumer_group_describe.API)
def test_consumer_group_describe(talk: Talk, version: int) -> None:
    talk.beat(1, member_epoch=0, rebalance_timeout=MINUTE, topics=("a", "b"), topic_partitions=())
    talk.join("classic")
    found, classic, unknown = talk.ask(
        consumer_group_describe.API, version, group_ids=("g", "classic", "unknown"), include_authorized_operations=False
    ).groups
    assert (found.group_state, found.group_epoch, found.assignment_epoch, found.assignor_name) == (
        *("Stable", 2, 2),
        "uniform",
    )
    (member,) = found.members
    assert (member.member_id, member.member_epoch, member.subscribed_topic_names) == ("member", 2, ("a", "b"))
    for assignment in (member.assignment, member.target_assignment):
        assert [(row.topic_name, row.partitions) for row in assignment.topic_partitions] == [("a", (0, 1))]
    assert [row.error_code.name for row in (classic, unknown)] == ["group_id_not_found", "group_id_not_found"]


def test_groups_of_both_protocols_are_listed_by_type_and_described_by_their_own_api(talk: Talk) -> None:
    talk.beat(1, member_epoch=0, rebalance_timeout=MINUTE, topics=("a",), topic_partitions=())
    talk.join("classic")
    for group_type, group_id in (("Consumer", "g"), ("classic", "classic")):
        (row,) = talk.ask(list_groups.API, 5, types_filter=(group_type,)).groups
        assert (row.group_id, row.protocol_type, row.group_type) == (group_id, "consumer", group_type.lower())
    (row,) = talk.ask(describe_groups.API, 6, groups=("g",), include_authorized_operations=False).groups
    assert (row.error_code.name, row.group_state) == ("group_id_not_found", "Dead")


def test_topics_whose_id_is_unknown_are_answered_as_such(talk: Talk) -> None:
    commit = talk.ask(
        offset_commit.API,
        10,
        group_id="g",
        generation_id_or_member_epoch=-1,
        member_id="",
        topics=lambda build: (
            build.OffsetCommitRequestTopic(
                topic_id=uuid.uuid4(),
                partitions=(
                    build.OffsetCommitRequestPartition(partition_index=0, committed_offset=1, committed_metadata=""),
                ),
            ),
        ),
    )
    assert rows(commit) == [(0, "unknown_topic_id")]
    fetch = talk.ask(
        offset_fetch.API,
        10,
        groups=lambda build: (
            build.OffsetFetchRequestGroup(
                group_id="g",
                topics=(build.OffsetFetchRequestTopics(topic_id=uuid.uuid4(), partition_indexes=(0,)),),
            ),
        ),
    )
    assert rows(fetch.groups[0]) == [(0, "unknown_topic_id")]
