"""The consumer group protocol (KIP-848), as librdkafka and plain requests see it: the same on both brokers.

Apache Kafka computes targets beside the heartbeats and at most once a second; where that shows, a test waits for the
outcome instead of naming the heartbeat that has it.
"""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from tests.support.brokers import Cluster, Names
from tests.support.clients import (
    WAIT_S,
    admin,
    assigned,
    committed,
    eventually,
    make_topic,
    member,
    poll_until,
    producer,
    send,
    settings,
    take,
    transactional,
)

ALL = [0, 1, 2, 3, 4, 5]


def state_of(client: AdminClient, group: str) -> str:
    return str(client.describe_consumer_groups([group], request_timeout=WAIT_S)[group].result(WAIT_S).state.name)


@pytest.mark.parametrize("assignor", ["uniform", "range"])
def test_three_members_share_and_the_last_one_gets_all(kafka: Cluster, names: Names, assignor: str) -> None:
    topic, group = make_topic(kafka.bootstrap, names("shared"), partitions=6), names("g")
    remote = {"group_remote_assignor": assignor}
    with member(kafka.bootstrap, group, **remote) as first:
        first.subscribe([topic])
        poll_until([first], lambda: assigned(first) == ALL)
        with member(kafka.bootstrap, group, **remote) as second, member(kafka.bootstrap, group, **remote) as third:
            every = [first, second, third]
            second.subscribe([topic])
            third.subscribe([topic])
            poll_until(every, lambda: all(len(assigned(one)) == 2 for one in every))
            assert sorted(assigned(first) + assigned(second) + assigned(third)) == ALL
        poll_until([first], lambda: assigned(first) == ALL)


def test_a_member_that_reads_on_keeps_what_it_keeps(kafka: Cluster, names: Names) -> None:
    topic, group = make_topic(kafka.bootstrap, names("kept"), partitions=6), names("g")
    revoked: list[int] = []
    with member(kafka.bootstrap, group) as first, member(kafka.bootstrap, group) as second:
        first.subscribe([topic], on_revoke=lambda _, parts: revoked.extend(part.partition for part in parts))
        poll_until([first], lambda: assigned(first) == ALL)
        second.subscribe([topic])
        poll_until([first, second], lambda: len(assigned(second)) == 3)
        assert sorted(revoked + assigned(first)) == ALL
        assert sorted(revoked) == assigned(second)


def test_offsets_that_a_member_commits_are_where_the_next_begins(kafka: Cluster, names: Names) -> None:
    topic, group = make_topic(kafka.bootstrap, names("resume")), names("g")
    send(producer(kafka.bootstrap), topic, [b"a", b"b", b"c"])
    with member(kafka.bootstrap, group) as reader:
        reader.subscribe([topic])
        two = take(reader, 2)
        reader.commit(message=two[-1], asynchronous=False)
    with member(kafka.bootstrap, group) as reader:
        reader.subscribe([topic])
        assert [message.value() for message in take(reader, 1)] == [b"c"]


def test_a_regular_expression_finds_topics_that_come_later(kafka: Cluster, names: Names) -> None:
    prefix = names("regex")
    make_topic(kafka.bootstrap, f"{prefix}-1")
    with member(kafka.bootstrap, names("g")) as reader:
        reader.subscribe([f"^{prefix}-.*"])
        poll_until([reader], lambda: {part.topic for part in reader.assignment()} == {f"{prefix}-1"})
        make_topic(kafka.bootstrap, f"{prefix}-2")
        make_topic(kafka.bootstrap, f"other-{prefix}-3")
        both = {f"{prefix}-1", f"{prefix}-2"}
        poll_until([reader], lambda: {part.topic for part in reader.assignment()} == both)


def test_a_static_member_that_returns_has_its_partitions_and_the_others_keep_theirs(
    kafka: Cluster, names: Names
) -> None:
    topic, group = make_topic(kafka.bootstrap, names("static"), partitions=6), names("g")
    revoked: list[str] = []
    with member(kafka.bootstrap, group, group_instance_id="two") as second:
        with member(kafka.bootstrap, group, group_instance_id="one") as first:
            first.subscribe([topic])
            second.subscribe([topic], on_revoke=lambda *_: revoked.append("second"))
            poll_until([first, second], lambda: len(assigned(first)) == len(assigned(second)) == 3)
            before = assigned(first)
            revoked.clear()
        with member(kafka.bootstrap, group, group_instance_id="one") as again:
            again.subscribe([topic])
            poll_until([again, second], lambda: assigned(again) == before)
            assert revoked == []


def test_a_second_member_of_the_same_instance_id_is_refused(kafka: Cluster, names: Names) -> None:
    topic, group = make_topic(kafka.bootstrap, names("twice")), names("g")
    errors: list[str] = []
    with member(kafka.bootstrap, group, group_instance_id="same") as first:
        first.subscribe([topic])
        poll_until([first], lambda: assigned(first) == [0])
        refused = Consumer(
            settings(kafka.bootstrap, group_id=group, group_protocol="consumer", group_instance_id="same")
            | {"error_cb": lambda error: errors.append(error.name())}
        )
        refused.subscribe([topic])

        def is_told() -> bool:
            message = refused.poll(0.05)
            error = message.error() if message is not None else None
            if error is not None:
                errors.append(error.name())
            return bool(errors)

        eventually(is_told)
        assert {"UNRELEASED_INSTANCE_ID", "_FATAL"} & set(errors)
        assert assigned(first) == [0]
        refused.close()


def test_a_member_goes_on_over_a_kill_of_the_broker(kafka: Cluster, names: Names) -> None:
    topic, group = make_topic(kafka.bootstrap, names("killed"), partitions=2), names("g")
    lost: list[str] = []
    with member(kafka.bootstrap, group) as reader:
        reader.subscribe([topic], on_lost=lambda *_: lost.append("lost"))
        poll_until([reader], lambda: assigned(reader) == [0, 1])
        kafka.kill()
        kafka.restart()
        send(producer(kafka.bootstrap), topic, [b"after"])
        assert [message.value() for message in take(reader, 1)] == [b"after"]
        assert assigned(reader) == [0, 1]
        assert lost == []


def test_offsets_in_a_transaction_are_fenced_by_the_member_epoch(kafka: Cluster, names: Names) -> None:
    topic, group = make_topic(kafka.bootstrap, names("fenced"), partitions=2), names("g")
    sender = transactional(kafka.bootstrap, names("tx"))
    with member(kafka.bootstrap, group) as first:
        first.subscribe([topic])
        poll_until([first], lambda: assigned(first) == [0, 1])
        metadata = first.consumer_group_metadata()
        sender.begin_transaction()
        sender.send_offsets_to_transaction([TopicPartition(topic, 0, 3)], metadata, WAIT_S)
        sender.commit_transaction(WAIT_S)
        assert committed(first, topic) == 3
    with member(kafka.bootstrap, group) as second:
        second.subscribe([topic])
        poll_until([second], lambda: assigned(second) == [0, 1])
        sender.begin_transaction()
        with pytest.raises(KafkaException) as refused:
            sender.send_offsets_to_transaction([TopicPartition(topic, 0, 4)], metadata, WAIT_S)
        assert refused.value.args[0].txn_requires_abort()
        sender.abort_transaction(WAIT_S)
        assert committed(second, topic) == 3


def test_tools_describe_list_reset_and_delete_a_group(kafka: Cluster, names: Names) -> None:
    topic, group = make_topic(kafka.bootstrap, names("tools"), partitions=2), names("g")
    client = admin(kafka.bootstrap)
    with member(kafka.bootstrap, group) as reader:
        reader.subscribe([topic])
        poll_until([reader], lambda: assigned(reader) == [0, 1])
        reader.commit(offsets=[TopicPartition(topic, 0, 5)], asynchronous=False)
        eventually(lambda: state_of(client, group) == "STABLE")
        described = client.describe_consumer_groups([group], request_timeout=WAIT_S)[group].result(WAIT_S)
        (only,) = described.members
        assert [(part.topic, part.partition) for part in only.assignment.topic_partitions] == [(topic, 0), (topic, 1)]
        listed = client.list_consumer_groups(request_timeout=WAIT_S).result(WAIT_S).valid
        assert {(row.type.name, row.state.name) for row in listed if row.group_id == group} == {("CONSUMER", "STABLE")}
        with pytest.raises(KafkaException) as refused:
            client.delete_consumer_groups([group], request_timeout=WAIT_S)[group].result(WAIT_S)
        assert refused.value.args[0].name() == "NON_EMPTY_GROUP"
    with member(kafka.bootstrap, group) as other:
        assert committed(other, topic) == 5
    client.delete_consumer_groups([group], request_timeout=WAIT_S)[group].result(WAIT_S)
    with member(kafka.bootstrap, group) as other:
        assert committed(other, topic) < 0
