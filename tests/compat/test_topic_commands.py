"""Kafka's own commands about topics, offsets, groups, versions and performance, on our broker and on Apache Kafka.

What a command prints is the same on both, but for ids; so these run on the ``kafka`` fixture.
"""

from __future__ import annotations

from tests.support.brokers import Cluster, Names
from tests.support.clients import consumer, make_topic, producer, read_all, send, take
from tests.support.java import run_tool

TOPICS = "org.apache.kafka.tools.TopicCommand"
OFFSETS = "org.apache.kafka.tools.GetOffsetShell"
GROUPS = "org.apache.kafka.tools.GroupsCommand"
VERSIONS = "org.apache.kafka.tools.BrokerApiVersionsCommand"
PRODUCER_PERFORMANCE = "org.apache.kafka.tools.ProducerPerformance"
CONSUMER_PERFORMANCE = "org.apache.kafka.tools.ConsumerPerformance"


def run(kafka: Cluster, main_class: str, *arguments: str) -> list[str]:
    """What the command prints, line by line, without blanks at the ends."""
    printed = run_tool(main_class, "--bootstrap-server", kafka.bootstrap, *arguments)
    return [line.strip() for line in printed.splitlines() if line.strip()]


def described(kafka: Cluster, topic: str) -> dict[str, str]:
    """The first line of ``kafka-topics --describe``: name and value of each column."""
    first = run(kafka, TOPICS, "--describe", "--topic", topic)[0]
    return {name.strip(): value.strip() for name, _, value in (cell.partition(":") for cell in first.split("\t"))}


def test_a_topic_is_made_described_grown_and_deleted(kafka: Cluster, names: Names) -> None:
    topic = names("command")
    run(kafka, TOPICS, "--create", "--topic", topic, "--partitions", "2", "--config", "retention.ms=60000")
    assert topic in run(kafka, TOPICS, "--list")
    found = described(kafka, topic)
    assert (found["Topic"], found["PartitionCount"], found["ReplicationFactor"]) == (topic, "2", "1")
    assert "retention.ms=60000" in found["Configs"].split(",")
    run(kafka, TOPICS, "--alter", "--topic", topic, "--partitions", "3")
    assert described(kafka, topic)["PartitionCount"] == "3"
    run(kafka, TOPICS, "--delete", "--topic", topic)
    assert topic not in run(kafka, TOPICS, "--list")


def test_offsets_are_told(kafka: Cluster, names: Names) -> None:
    topic = make_topic(kafka.bootstrap, names("offsets"), partitions=2)
    send(producer(kafka.bootstrap), topic, [b"a", b"b", b"c"], partition=1)
    assert run(kafka, OFFSETS, "--topic", topic) == [f"{topic}:0:0", f"{topic}:1:3"]
    assert run(kafka, OFFSETS, "--topic", topic, "--time", "earliest") == [f"{topic}:0:0", f"{topic}:1:0"]


def test_groups_are_listed(kafka: Cluster, names: Names) -> None:
    topic, group = make_topic(kafka.bootstrap, names("listed")), names("g")
    send(producer(kafka.bootstrap), topic, [b"a"])
    with consumer(kafka.bootstrap, group) as reader:
        reader.subscribe([topic])
        take(reader, 1)
        (row,) = [line.split() for line in run(kafka, GROUPS, "--list") if line.startswith(group)]
        assert [word.lower() for word in row] == [group, "classic", "consumer"]


def test_the_versions_that_are_spoken_are_told(kafka: Cluster) -> None:
    lines = run(kafka, VERSIONS)
    assert any(line.startswith("Produce(0): ") and "[usable: " in line for line in lines)
    assert not [line for line in lines if line.startswith("Fetch(1): UNSUPPORTED")]


def test_the_performance_commands_write_and_read_every_record(kafka: Cluster, names: Names) -> None:
    topic = make_topic(kafka.bootstrap, names("performance"), partitions=2)
    printed = run_tool(
        PRODUCER_PERFORMANCE,
        *("--topic", topic, "--num-records", "2000", "--record-size", "100", "--throughput", "-1"),
        *("--command-property", f"bootstrap.servers={kafka.bootstrap}", "acks=all", "batch.size=4000"),
    )
    assert "2000 records sent" in printed
    assert sum(len(read_all(kafka.bootstrap, topic, partition=index)) for index in range(2)) == 2000
    headings, figures = run(kafka, CONSUMER_PERFORMANCE, "--topic", topic, "--num-records", "2000")[-2:]
    row = dict(zip(headings.split(", "), figures.split(", "), strict=True))
    assert row["data.consumed.in.nMsg"] == "2000"
