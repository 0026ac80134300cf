"""Consumer groups by the classic protocol: the same on our broker and on Apache Kafka."""

from __future__ import annotations

import time

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from tests.support.brokers import Cluster, Names
from tests.support.clients import (
    assigned,
    committed,
    committed_place,
    consumer,
    eventually,
    make_topic,
    poll_until,
    producer,
    send,
    take,
)


@pytest.mark.parametrize("strategy", ["range", "cooperative-sticky"])
def test_members_share_the_partitions_and_the_last_one_gets_all(kafka: Cluster, names: Names, strategy: str) -> None:
    topic, group = make_topic(kafka.bootstrap, names("shared"), partitions=4), names("g")
    with consumer(kafka.bootstrap, group, partition_assignment_strategy=strategy) as first:
        first.subscribe([topic])
        poll_until([first], lambda: assigned(first) == [0, 1, 2, 3])
        with consumer(kafka.bootstrap, group, partition_assignment_strategy=strategy) as second:
            second.subscribe([topic])
            poll_until(
                [first, second],
                lambda: (
                    len(assigned(first)) == len(assigned(second)) == 2
                    and sorted(assigned(first) + assigned(second)) == [0, 1, 2, 3]
                ),
            )
        poll_until([first], lambda: assigned(first) == [0, 1, 2, 3])


def test_a_restarted_reader_goes_on_at_the_committed_offset(kafka: Cluster, names: Names) -> None:
    topic, group = make_topic(kafka.bootstrap, names("resume")), names("g")
    send(producer(kafka.bootstrap), topic, [b"a", b"b", b"c"])
    with consumer(kafka.bootstrap, group) as reader:
        reader.subscribe([topic])
        two = take(reader, 2)
        reader.commit(message=two[-1], asynchronous=False)
    with consumer(kafka.bootstrap, group) as reader:
        reader.subscribe([topic])
        assert [message.value() for message in take(reader, 1)] == [b"c"]


def test_committed_offsets_and_their_metadata_survive_a_killed_broker(kafka: Cluster, names: Names) -> None:
    topic, group = make_topic(kafka.bootstrap, names("kept")), names("g")
    with consumer(kafka.bootstrap, group) as reader:
        reader.commit(offsets=[TopicPartition(topic, 0, 7, "note")], asynchronous=False)
    kafka.kill()
    kafka.restart()
    with consumer(kafka.bootstrap, group) as reader:
        kept = committed_place(reader, topic)
        assert (kept.offset, kept.metadata) == (7, "note")


def test_an_offset_that_was_never_committed_is_said_to_be_none(kafka: Cluster, names: Names) -> None:
    topic = make_topic(kafka.bootstrap, names("none"))
    with consumer(kafka.bootstrap, names("g")) as reader:
        assert committed(reader, topic) < 0


def test_a_killed_members_partitions_go_to_the_others_after_its_session(kafka: Cluster, names: Names) -> None:
    topic, group = make_topic(kafka.bootstrap, names("silent"), partitions=2), names("g")
    # Kafka counts a member as gone when its session ends. Closing without leaving the group is the nearest thing to a
    # kill inside one process: a static member that is closed says nothing.
    silent = Consumer(_static(kafka, group, "silent"))
    with consumer(kafka.bootstrap, group) as other:
        silent.subscribe([topic])
        other.subscribe([topic])
        poll_until([silent, other], lambda: len(assigned(silent)) == len(assigned(other)) == 1)
        began = time.monotonic()
        silent.close()
        poll_until([other], lambda: assigned(other) == [0, 1])
        assert time.monotonic() - began > 3, "the session timeout of 6 s was not waited for"


def test_a_static_member_that_returns_gets_its_partitions_without_a_rebalance(kafka: Cluster, names: Names) -> None:
    topic, group = make_topic(kafka.bootstrap, names("static"), partitions=2), names("g")
    revoked: list[str] = []
    first, second = (Consumer(_static(kafka, group, name, session_ms=45_000)) for name in ("one", "two"))
    first.subscribe([topic])
    second.subscribe([topic], on_revoke=lambda *_: revoked.append("second"))
    poll_until([first, second], lambda: len(assigned(first)) == len(assigned(second)) == 1)
    before = assigned(first)
    revoked.clear()
    first.close()
    again = Consumer(_static(kafka, group, "one", session_ms=45_000))
    again.subscribe([topic])
    poll_until([again, second], lambda: assigned(again) == before)
    assert revoked == []
    again.close()
    second.close()


def test_the_older_of_two_with_one_instance_id_is_fenced(kafka: Cluster, names: Names) -> None:
    topic, group = make_topic(kafka.bootstrap, names("fenced"), partitions=2), names("g")
    errors: list[str] = []
    old = Consumer(_static(kafka, group, "same") | {"error_cb": lambda error: errors.append(error.name())})
    old.subscribe([topic])
    poll_until([old], lambda: assigned(old) == [0, 1])
    new = Consumer(_static(kafka, group, "same"))
    new.subscribe([topic])
    poll_until([new], lambda: assigned(new) == [0, 1])

    def old_is_told() -> bool:
        message = old.poll(0.05)
        error = message.error() if message is not None else None
        if error is not None:
            errors.append(error.name())
        return "FENCED_INSTANCE_ID" in errors or "_FATAL" in errors

    eventually(old_is_told)
    old.close()
    new.close()


def test_a_commit_with_a_generation_of_the_past_is_refused(kafka: Cluster, names: Names) -> None:
    topic, group = make_topic(kafka.bootstrap, names("past"), partitions=2), names("g")
    with consumer(kafka.bootstrap, group) as reader:
        reader.subscribe([topic])
        poll_until([reader], lambda: assigned(reader) == [0, 1])
        with consumer(kafka.bootstrap, group) as stranger, pytest.raises(KafkaException) as refused:
            # Not a member, and the group has members: Kafka takes such commits for groups without members only.
            stranger.commit(offsets=[TopicPartition(topic, 0, 1)], asynchronous=False)
        assert refused.value.args[0].name() in {"UNKNOWN_MEMBER_ID", "ILLEGAL_GENERATION"}


def _static(
    kafka: Cluster, group: str, instance: str, *, session_ms: int = 6_000
) -> dict[str, str | int | float | bool]:
    return {
        "bootstrap.servers": kafka.bootstrap,
        "group.id": group,
        "group.instance.id": instance,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "session.timeout.ms": session_ms,
        "heartbeat.interval.ms": 500,
        "log_level": 0,
    }
