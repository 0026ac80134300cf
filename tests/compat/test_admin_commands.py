"""Kafka's own administrative commands against our broker: topics, settings, folders, leaders, replicas, the quorum."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.brokers import Cluster, Names
from tests.support.clients import make_topic
from tests.support.java import run_tool

CONFIGS = "kafka.admin.ConfigCommand"
TOPICS = "org.apache.kafka.tools.TopicCommand"


def run(cluster: Cluster, main_class: str, *arguments: str) -> str:
    return run_tool(main_class, "--bootstrap-server", cluster.bootstrap, *arguments)


def test_kafka_topics_describes_what_kafka_configs_changed(embedded_cluster: Cluster, names: Names) -> None:
    topic = make_topic(embedded_cluster.bootstrap, names("told"), partitions=2)
    of_topic = ("--entity-type", "topics", "--entity-name", topic)
    changed = run(embedded_cluster, CONFIGS, *of_topic, "--alter", "--add-config", "retention.ms=5,segment.ms=7")
    assert f"Completed updating config for topic {topic}." in changed
    described = run(embedded_cluster, TOPICS, "--describe", "--topic", topic)
    assert "PartitionCount: 2" in described
    assert "retention.ms=5" in described
    assert "Leader: 1\tReplicas: 1\tIsr: 1" in described
    run(embedded_cluster, CONFIGS, *of_topic, "--alter", "--delete-config", "retention.ms")
    told = run(embedded_cluster, CONFIGS, *of_topic, "--describe", "--all")
    assert "segment.ms=7 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:segment.ms=7}" in told
    assert "retention.ms=604800000 sensitive=false synonyms={}" in told
    assert "max.message.bytes=1048588 sensitive=false synonyms={DEFAULT_CONFIG:message.max.bytes=1048588}" in told


def test_kafka_configs_changes_the_broker_while_it_runs(embedded_cluster: Cluster) -> None:
    every, one = ("--entity-type", "brokers", "--entity-default"), ("--entity-type", "brokers", "--entity-name", "1")
    run(embedded_cluster, CONFIGS, *every, "--alter", "--add-config", "log.retention.ms=604800000")
    try:
        told = run(embedded_cluster, CONFIGS, *every, "--describe")
        assert "log.retention.ms=604800000" in told
        told = run(embedded_cluster, CONFIGS, *one, "--describe", "--all")
        assert "synonyms={DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=604800000}" in told
        assert "node.id=1 sensitive=false synonyms={STATIC_BROKER_CONFIG:node.id=1" in told
    finally:
        run(embedded_cluster, CONFIGS, *every, "--alter", "--delete-config", "log.retention.ms")


def test_kafka_configs_tells_of_groups_and_metrics_of_clients(embedded_cluster: Cluster) -> None:
    told = run(embedded_cluster, CONFIGS, "--entity-type", "groups", "--entity-name", "g", "--describe", "--all")
    assert "consumer.session.timeout.ms=45000" in told
    run(embedded_cluster, CONFIGS, "--entity-type", "client-metrics", "--describe")
    run(embedded_cluster, CONFIGS, "--entity-type", "users", "--describe")


def test_kafka_log_dirs_tells_the_sizes(embedded_cluster: Cluster, names: Names) -> None:
    topic = make_topic(embedded_cluster.bootstrap, names("sized"))
    printed = run(embedded_cluster, "org.apache.kafka.tools.LogDirsCommand", "--describe", "--topic-list", topic)
    (broker,) = json.loads(printed.splitlines()[-1])["brokers"]
    (folder,) = broker["logDirs"]
    assert [(row["partition"], row["size"], row["isFuture"]) for row in folder["partitions"]] == [
        (f"{topic}-0", 0, False)
    ]


def test_kafka_leader_election_finds_nothing_to_do(embedded_cluster: Cluster, names: Names) -> None:
    topic = make_topic(embedded_cluster.bootstrap, names("led"))
    command = ("--election-type", "preferred", "--topic", topic, "--partition", "0")
    printed = run(embedded_cluster, "org.apache.kafka.tools.LeaderElectionCommand", *command)
    assert f"Valid replica already elected for partitions {topic}-0" in printed


def test_kafka_reassign_partitions_finds_everything_in_its_place(
    embedded_cluster: Cluster, names: Names, tmp_path: Path
) -> None:
    topic = make_topic(embedded_cluster.bootstrap, names("placed"))
    plan = {"version": 1, "partitions": [{"topic": topic, "partition": 0, "replicas": [1], "log_dirs": ["any"]}]}
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(plan))
    command = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"
    done = run(embedded_cluster, command, "--execute", "--reassignment-json-file", str(file))
    assert f"Successfully started partition reassignment for {topic}-0" in done
    verified = run(embedded_cluster, command, "--verify", "--reassignment-json-file", str(file))
    assert f"Reassignment of partition {topic}-0 is completed." in verified
    assert "No partition reassignments found." in run(embedded_cluster, command, "--list")


def test_kafka_metadata_quorum_tells_of_one_voter(embedded_cluster: Cluster) -> None:
    command = "org.apache.kafka.tools.MetadataQuorumCommand"
    status = run(embedded_cluster, command, "describe", "--status")
    assert "LeaderId:               1" in status
    assert "Leader" in run(embedded_cluster, command, "describe", "--replication")


def test_kafka_cluster_tells_the_cluster_s_id(embedded_cluster: Cluster) -> None:
    printed = run_tool(
        "org.apache.kafka.tools.ClusterTool", "cluster-id", "--bootstrap-server", embedded_cluster.bootstrap
    )
    assert printed.startswith("Cluster ID: ")


def test_quotas_are_described_and_refused(embedded_cluster: Cluster) -> None:
    of_client = ("--entity-type", "clients", "--entity-name", "any")
    run(embedded_cluster, CONFIGS, *of_client, "--describe")
    with pytest.raises(AssertionError, match="This broker keeps no client to a quota"):
        run(embedded_cluster, CONFIGS, *of_client, "--alter", "--add-config", "producer_byte_rate=1")


def test_metrics_of_clients_versions_and_groups_are_listed(embedded_cluster: Cluster) -> None:
    run(embedded_cluster, "org.apache.kafka.tools.ClientMetricsCommand", "--list")
    run(embedded_cluster, "org.apache.kafka.tools.GroupsCommand", "--list")
    versions = run(embedded_cluster, "org.apache.kafka.tools.BrokerApiVersionsCommand")
    assert "DescribeTopicPartitions(75): 0 [usable: 0]" in versions
