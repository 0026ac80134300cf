"""KIP-848 request by request, for what no client library would send: the same answers from both brokers."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from tests.support.brokers import Cluster, Names
from tests.support.clients import WAIT_S, eventually, make_topic
from tests.support.wire import WireClient, nested
from tests.support.wire_producer import find_coordinator

Assignment = list[tuple[str, tuple[int, ...]]]
NOT_SAID = timedelta(milliseconds=-1)


@dataclass(slots=True)
class Talk:
    """Requests to one broker about two topics, ``t`` with four partitions and ``u`` with two."""

    client: WireClient
    group: str
    topics: dict[str, str]
    ids: dict[str, uuid.UUID]

    def beat(self, member: str, epoch: int, *, version: int = 1, **said: Any) -> Any:
        owned = said.pop("owned", None)
        topics = said.pop("topics", None)
        rows = None
        if owned is not None:
            rows = tuple(
                nested(
                    *("consumer_group_heartbeat", version, "TopicPartitions"),
                    topic_id=self.ids[topic],
                    partitions=partitions,
                )
                for topic, partitions in owned.items()
            )
        fields = {
            "group_id": self.group,
            "rebalance_timeout": NOT_SAID,
            "subscribed_topic_names": None if topics is None else tuple(self.topics.get(t, t) for t in topics),
        } | said
        return self.client.ask(
            *("consumer_group_heartbeat", version),
            member_id=member,
            member_epoch=epoch,
            topic_partitions=rows,
            **fields,
        )

    def join(self, member: str, **said: Any) -> Any:
        joining: dict[str, Any] = {"topics": ("t",), "owned": {}, "rebalance_timeout": timedelta(seconds=30)}
        return self.beat(member, 0, **(joining | said))

    def given(self, answer: Any) -> Assignment | None:
        """Topics and partitions that the answer gives; None if it says nothing."""
        assert answer.error_code.name == "none", answer.error_message
        if answer.assignment is None:
            return None
        names = {topic_id: name for name, topic_id in self.ids.items()}
        return sorted((names[row.topic_id], row.partitions) for row in answer.assignment.topic_partitions)

    def beat_until(self, member: str, epoch: int, expected: Assignment | None, *, epoch_then: int, **said: Any) -> None:
        """Heartbeat until the answer has this epoch, and gives this assignment on the way.

        Or a later epoch: Apache Kafka begins one more when it learns only then of a topic that was made just before.
        """
        deadline = time.monotonic() + WAIT_S
        seen: list[Assignment | None] = []
        while True:
            answer = self.beat(member, epoch, **said)
            seen.append(self.given(answer))
            epoch = answer.member_epoch
            if epoch >= epoch_then and (expected is None or expected in seen):
                return
            assert time.monotonic() < deadline, (epoch, seen)
            time.sleep(0.1)

    def describe(self) -> Any:
        (found,) = self.client.ask(
            "consumer_group_describe", 1, group_ids=(self.group,), include_authorized_operations=False
        ).groups
        return found

    def shared(self) -> None:
        """One has partitions 0 and 1 since epoch 2 and is in epoch 3, two has the others since epoch 3."""
        self.join("one")
        self.join("two")
        self.beat_until("one", 2, [("t", (0, 1))], epoch_then=2)
        self.beat_until("one", 2, None, epoch_then=3, owned={"t": (0, 1)})
        epoch = next(row.member_epoch for row in self.describe().members if row.member_id == "two")
        self.beat_until("two", epoch, [("t", (2, 3))], epoch_then=3)

    def commit(self, member: str, epoch: int, *partitions: int, version: int = 9, group: str | None = None) -> set[str]:
        rows = tuple(
            nested(
                *("offset_commit", version, "OffsetCommitRequestPartition"),
                partition_index=partition,
                committed_offset=5,
                committed_metadata="",
            )
            for partition in partitions or (0,)
        )
        which = {"topic_id": self.ids["t"]} if version >= 10 else {"name": self.topics["t"]}
        answer = self.client.ask(
            *("offset_commit", version),
            group_id=group or self.group,
            generation_id_or_member_epoch=epoch,
            member_id=member,
            topics=(nested("offset_commit", version, "OffsetCommitRequestTopic", **which, partitions=rows),),
        )
        return {row.error_code.name for topic in answer.topics for row in topic.partitions}

    def fetch(self, member: str | None, epoch: int, *, version: int = 9) -> tuple[str, list[tuple[int, str]]]:
        which = {"topic_id": self.ids["t"]} if version >= 10 else {"name": self.topics["t"]}
        topics = (nested("offset_fetch", version, "OffsetFetchRequestTopics", **which, partition_indexes=(0,)),)
        wanted = nested(
            *("offset_fetch", version, "OffsetFetchRequestGroup"),
            group_id=self.group,
            member_id=member,
            member_epoch=epoch,
            topics=topics,
        )
        (found,) = self.client.ask("offset_fetch", version, groups=(wanted,), require_stable=False).groups
        rows = [(row.committed_offset, row.error_code.name) for topic in found.topics for row in topic.partitions]
        return found.error_code.name, rows


@pytest.fixture
def talk(kafka: Cluster, names: Names) -> Iterator[Talk]:
    topics = {"t": names("t"), "u": names("u")}
    make_topic(kafka.bootstrap, topics["t"], partitions=4)
    make_topic(kafka.bootstrap, topics["u"], partitions=2)
    group = names("g")
    with WireClient(kafka.bootstrap) as client:
        metadata = client.ask(
            "metadata", 12, topics=None, allow_auto_topic_creation=False, include_topic_authorized_operations=False
        )
        ids = {str(row.name): row.topic_id for row in metadata.topics}
        find_coordinator(client, group, key_type=0)
        made = Talk(client, group, topics, {short: ids[name] for short, name in topics.items()})
        eventually(lambda: made.describe().error_code.name == "group_id_not_found")  # loaded, after a start
        yield made


def refused(answer: Any) -> tuple[str, int, Any]:
    assert answer.member_id is None
    return answer.error_code.name, answer.member_epoch, answer.assignment


def test_a_lone_member_has_everything_with_its_first_answer(talk: Talk) -> None:
    answer = talk.join("one")
    assert (talk.given(answer), answer.member_id, answer.member_epoch) == ([("t", (0, 1, 2, 3))], "one", 2)
    assert answer.heartbeat_interval == timedelta(seconds=5)
    found = talk.describe()
    assert (found.group_state, found.group_epoch, found.assignment_epoch) == ("Stable", 2, 2)
    assert found.assignor_name == "uniform"
    (member,) = found.members
    assert (member.member_epoch, member.member_type) == (2, 1)


def test_partitions_move_from_one_member_to_the_next_in_steps(talk: Talk) -> None:
    talk.shared()
    found = talk.describe()
    assert (found.group_state, found.group_epoch, found.assignment_epoch) == ("Stable", 3, 3)


def test_a_member_that_is_to_give_up_is_shown_with_what_it_still_has(talk: Talk) -> None:
    talk.join("one")
    talk.join("two")
    talk.beat_until("one", 2, [("t", (0, 1))], epoch_then=2)
    found = talk.describe()
    (one,) = [row for row in found.members if row.member_id == "one"]
    assert found.group_state == "Reconciling"
    assert [row.partitions for row in one.assignment.topic_partitions] == [(0, 1, 2, 3)]
    assert [row.partitions for row in one.target_assignment.topic_partitions] == [(0, 1)]


def test_epochs_that_are_not_the_members_are_fenced_and_joining_again_is_not(talk: Talk) -> None:
    talk.shared()
    assert refused(talk.beat("one", 4)) == ("fenced_member_epoch", 0, None)
    assert refused(talk.beat("one", 1)) == ("fenced_member_epoch", 0, None)
    assert refused(talk.beat("one", 2)) == ("fenced_member_epoch", 0, None)
    assert talk.beat("one", 2, owned={"t": (0,)}).member_epoch == 3
    assert talk.given(talk.join("one")) == [("t", (0, 1))]


def test_who_is_unknown_is_told_what_is_unknown(talk: Talk) -> None:
    assert refused(talk.beat("one", 1))[0] == refused(talk.beat("one", -1))[0] == "group_id_not_found"
    assert talk.describe().error_code.name == "group_id_not_found"
    talk.join("one")
    assert refused(talk.beat("two", 1))[0] == refused(talk.beat("two", -1))[0] == "unknown_member_id"


INVALID: list[tuple[Callable[[Talk], Any], str]] = [
    (lambda talk: talk.join(""), "invalid_request"),
    (lambda talk: talk.join("one", group_id=""), "invalid_request"),
    (lambda talk: talk.join("one", instance_id=""), "invalid_request"),
    (lambda talk: talk.join("one", rebalance_timeout=NOT_SAID), "invalid_request"),
    (lambda talk: talk.join("one", owned={"t": (0,)}), "invalid_request"),
    (lambda talk: talk.join("one", topics=None), "invalid_request"),
    (lambda talk: talk.beat("one", -3), "invalid_request"),
    (lambda talk: talk.beat("one", -2), "invalid_request"),
    (lambda talk: talk.join("one", server_assignor="sticky"), "unsupported_assignor"),
    (lambda talk: talk.join("one", topics=(), subscribed_topic_regex="(["), "invalid_regular_expression"),
    (lambda talk: talk.join("one", topics=(), subscribed_topic_regex="(?=a)"), "invalid_regular_expression"),
]


@pytest.mark.parametrize(("ask", "expected"), INVALID)
def test_a_request_that_makes_no_sense_is_refused(talk: Talk, ask: Callable[[Talk], Any], expected: str) -> None:
    assert refused(ask(talk))[0] == expected
    assert talk.describe().error_code.name == "group_id_not_found"


def test_an_instance_id_is_one_members_until_it_is_released(talk: Talk) -> None:
    talk.join("one", instance_id="i")
    assert refused(talk.join("two", instance_id="i"))[0] == "unreleased_instance_id"
    assert refused(talk.join("one", instance_id="i"))[0] == "unreleased_instance_id"
    assert refused(talk.beat("two", 2, instance_id="i"))[0] == "fenced_instance_id"
    assert refused(talk.beat("two", -1, instance_id="i"))[0] == "fenced_instance_id"
    assert refused(talk.beat("one", 2, instance_id="j"))[0] == "unknown_member_id"
    left = talk.beat("one", -2, instance_id="i")
    assert (left.member_epoch, left.assignment) == (-2, None)
    assert [row.member_epoch for row in talk.describe().members] == [-2]
    taken = talk.join("two", instance_id="i")
    assert (taken.member_epoch, talk.given(taken)) == (2, [("t", (0, 1, 2, 3))])
    assert refused(talk.beat("one", 2, instance_id="i"))[0] == "fenced_instance_id"
    assert talk.beat("two", -1, instance_id="i").member_epoch == -1
    assert (talk.describe().group_state, talk.describe().group_epoch) == ("Empty", 3)


def test_a_changed_subscription_takes_away_before_it_gives(talk: Talk) -> None:
    talk.join("one")
    assert talk.given(talk.beat("one", 2, topics=("u",))) == []
    talk.beat_until("one", 2, [("u", (0, 1))], epoch_then=3, owned={})


def test_offsets_are_committed_in_the_members_epoch_or_for_what_it_has_had_since(talk: Talk) -> None:
    talk.shared()
    assert talk.commit("one", 3) == talk.commit("one", 3, version=10) == {"none"}
    assert talk.commit("one", 2, 0, 1) == {"none"}
    assert talk.commit("one", 2, 0, 2) == talk.commit("two", 2, 2) == talk.commit("one", 1) == {"stale_member_epoch"}
    assert talk.commit("one", 4) == talk.commit("one", -1) == {"stale_member_epoch"}
    assert talk.commit("three", 3) == talk.commit("", -1) == {"unknown_member_id"}
    assert talk.commit("one", 3, version=8) == {"unsupported_version"}
    assert talk.commit("one", 3, group="no-such-group") == {"group_id_not_found"}
    assert talk.commit("one", 3, group="no-such-group", version=8) == {"illegal_generation"}


def test_offsets_are_fetched_in_the_members_epoch_or_by_nobody_in_particular(talk: Talk) -> None:
    talk.shared()
    talk.commit("one", 3)
    assert talk.fetch("one", 3) == talk.fetch("one", 3, version=10) == talk.fetch(None, -1) == ("none", [(5, "none")])
    assert talk.fetch("one", 2) == ("stale_member_epoch", [])
    assert talk.fetch("three", 3) == talk.fetch("", -1) == ("unknown_member_id", [])


def test_offsets_of_a_topic_that_a_member_reads_are_not_deleted(talk: Talk) -> None:
    talk.join("one")

    def deleted(topic: str) -> str:
        row = nested("offset_delete", 0, "OffsetDeleteRequestPartition", partition_index=0)
        answer = talk.client.ask(
            *("offset_delete", 0),
            group_id=talk.group,
            topics=(nested("offset_delete", 0, "OffsetDeleteRequestTopic", name=topic, partitions=(row,)),),
        )
        return str(answer.topics[0].partitions[0].error_code.name)

    assert deleted(talk.topics["t"]) == "group_subscribed_to_topic"
    assert deleted(talk.topics["u"]) == "none"
    assert deleted("no-such-topic") == "unknown_topic_or_partition"


def test_a_consumer_group_is_listed_as_one_and_is_none_to_the_classic_protocol(talk: Talk) -> None:
    talk.join("one")
    listed = talk.client.ask("list_groups", 5, states_filter=(), types_filter=("Consumer",)).groups
    (row,) = [row for row in listed if row.group_id == talk.group]
    assert (row.protocol_type, row.group_type, row.group_state) == ("consumer", "consumer", "Stable")
    (row,) = talk.client.ask("describe_groups", 6, groups=(talk.group,), include_authorized_operations=False).groups
    assert (row.error_code.name, row.group_state) == ("group_id_not_found", "Dead")
    classic = {"group_id": talk.group, "member_id": "one", "generation_id": 2}
    assert talk.client.ask("heartbeat", 4, **classic).error_code.name == "unknown_member_id"
    assert talk.client.ask("sync_group", 3, **classic, assignments=()).error_code.name == "unknown_member_id"
    assert _delete(talk) == "non_empty_group"
    gone = nested("leave_group", 5, "MemberIdentity", member_id="one", group_instance_id=None)
    answer = talk.client.ask("leave_group", 5, group_id=talk.group, members=(gone,))
    assert [row.error_code.name for row in answer.members] == ["none"]
    assert _delete(talk) == "none"


def test_a_group_changes_its_protocol_when_it_is_empty(talk: Talk) -> None:
    talk.join("one")
    talk.beat("one", -1)
    protocol = nested("join_group", 3, "JoinGroupRequestProtocol", name="x", metadata=b"")
    joined = talk.client.ask(
        *("join_group", 3),
        group_id=talk.group,
        session_timeout=timedelta(seconds=10),
        rebalance_timeout=timedelta(seconds=10),
        member_id="",
        protocol_type="connect",
        protocols=(protocol,),
    )
    assert joined.error_code.name == "none"
    assert talk.describe().error_code.name == "group_id_not_found"
    assert refused(talk.join("one"))[0] == "group_id_not_found"
    gone = nested("leave_group", 5, "MemberIdentity", member_id=joined.member_id, group_instance_id=None)
    talk.client.ask("leave_group", 5, group_id=talk.group, members=(gone,))
    assert talk.given(talk.join("one")) == [("t", (0, 1, 2, 3))]


def _delete(talk: Talk) -> str:
    (row,) = talk.client.ask("delete_groups", 2, groups_names=(talk.group,)).results
    return str(row.error_code.name)
