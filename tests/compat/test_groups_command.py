"""``kafka-consumer-groups.sh`` on groups of both protocols: the same on our broker and on Apache Kafka."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, TopicPartition
from tests.support.brokers import Cluster, Names
from tests.support.clients import assigned, make_topic, poll_until, producer, send, settings
from tests.support.java import run_tool

TOOL = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"


def tool(kafka: Cluster, *arguments: str) -> list[list[str]]:
    """What the tool prints, a row of words at a time."""
    printed = run_tool(TOOL, "--bootstrap-server", kafka.bootstrap, *arguments)
    return [line.split() for line in printed.splitlines() if line.strip()]


def offsets_of(kafka: Cluster, group: str) -> dict[int, tuple[str, str]]:
    """Committed offset and lag by partition, as ``--describe`` tells them."""
    return {int(row[2]): (row[3], row[5]) for row in tool(kafka, "--describe", "--group", group) if row[0] == group}


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_group_is_listed_described_reset_and_deleted(kafka: Cluster, names: Names, protocol: str) -> None:
    topic, group = make_topic(kafka.bootstrap, names("tool"), partitions=2), names("g")
    send(producer(kafka.bootstrap), topic, [b"a", b"b", b"c"])
    reader = Consumer(settings(kafka.bootstrap, group_id=group, group_protocol=protocol, enable_auto_commit=False))
    reader.subscribe([topic])
    poll_until([reader], lambda: assigned(reader) == [0, 1])
    reader.commit(offsets=[TopicPartition(topic, 0, 2), TopicPartition(topic, 1, 0)], asynchronous=False)
    listed = {row[0]: row[1:] for row in tool(kafka, "--list", "--state", "--type")}
    assert [word.lower() for word in listed[group]] == [protocol, "stable"]
    assert offsets_of(kafka, group) == {0: ("2", "1"), 1: ("0", "0")}
    (members,) = [row for row in tool(kafka, "--describe", "--group", group, "--members") if row[0] == group]
    assert "2" in members
    reader.close()
    reset = ("--reset-offsets", "--group", group, "--topic", topic, "--to-latest", "--execute")
    tool(kafka, *reset)
    assert offsets_of(kafka, group) == {0: ("3", "0"), 1: ("0", "0")}
    tool(kafka, "--delete-offsets", "--group", group, "--topic", f"{topic}:1")
    assert offsets_of(kafka, group) == {0: ("3", "0")}
    tool(kafka, "--delete", "--group", group)
    assert group not in {row[0] for row in tool(kafka, "--list")}
