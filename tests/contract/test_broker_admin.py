"""The smaller administrative requests, whose answers on one node are the same on our broker and on Apache Kafka."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from confluent_kafka import ElectionType, TopicPartition
from tests.support.brokers import Cluster, Names
from tests.support.clients import WAIT_S, admin, make_topic, producer, send
from tests.support.wire import WireClient, nested

NOT_THERE = "not-there"
TIMEOUT = timedelta(seconds=30)


@pytest.fixture
def wire(kafka: Cluster) -> Iterator[WireClient]:
    with WireClient(kafka.bootstrap) as client:
        yield client


@pytest.fixture
def topic(kafka: Cluster, names: Names) -> str:
    return make_topic(kafka.bootstrap, names("administered"), partitions=3)


# DescribeTopicPartitions


def page(wire: WireClient, *topics: str, limit: int = 2_000, cursor: tuple[str, int] | None = None) -> Any:
    api = "describe_topic_partitions"
    return wire.ask(
        api,
        0,
        topics=tuple(nested(api, 0, "TopicRequest", name=name) for name in topics),
        response_partition_limit=limit,
        cursor=cursor and nested(api, 0, "Cursor", topic_name=cursor[0], partition_index=cursor[1]),
    )


def shown(answer: Any) -> dict[str, list[int]]:
    return {row.name: [part.partition_index for part in row.partitions] for row in answer.topics}


def after(answer: Any) -> tuple[str, int] | None:
    return answer.next_cursor and (answer.next_cursor.topic_name, answer.next_cursor.partition_index)


def test_topics_are_described_page_by_page(kafka: Cluster, wire: WireClient, names: Names) -> None:
    first, second = sorted(make_topic(kafka.bootstrap, names("paged"), partitions=3) for _ in range(2))
    answer = page(wire, second, first, limit=2)
    assert (shown(answer), after(answer)) == ({first: [0, 1]}, (first, 2))
    answer = page(wire, second, first, limit=2, cursor=(first, 2))
    assert (shown(answer), after(answer)) == ({first: [2], second: [0]}, (second, 1))
    answer = page(wire, second, first, limit=2, cursor=(second, 1))
    assert (shown(answer), after(answer)) == ({second: [1, 2]}, None)
    answer = page(wire, second, first, limit=3)
    assert (shown(answer), after(answer)) == ({first: [0, 1, 2]}, (second, 0))
    answer = page(wire, limit=1, cursor=(first, 1))
    assert (shown(answer), after(answer)) == ({first: [1]}, (first, 2))


def test_a_described_partition_names_its_leader_and_its_replicas(wire: WireClient, topic: str) -> None:
    (row,) = page(wire, topic).topics
    assert (row.error_code.name, row.name, row.is_internal) == ("none", topic, False)
    assert row.topic_id is not None
    assert row.topic_authorized_operations == 3576
    part = row.partitions[0]
    assert (part.leader_id, part.leader_epoch, part.replica_nodes, part.isr_nodes) == (1, 0, (1,), (1,))
    assert (part.eligible_leader_replicas, part.last_known_elr, part.offline_replicas) == ((), (), ())


def test_a_topic_that_is_not_there_takes_no_room_on_a_page(wire: WireClient, topic: str) -> None:
    answer = page(wire, topic, "a-" + NOT_THERE, limit=3)
    codes = {row.name: row.error_code.name for row in answer.topics}
    assert codes == {"a-" + NOT_THERE: "unknown_topic_or_partition", topic: "none"}
    assert shown(answer)[topic] == [0, 1, 2]


# Log folders


def test_the_log_folder_tells_how_large_partitions_are(kafka: Cluster, wire: WireClient, topic: str) -> None:
    def sizes(*topics: tuple[str, tuple[int, ...]], everything: bool = False) -> dict[tuple[str, int], int]:
        api = "describe_log_dirs"
        wanted = tuple(nested(api, 4, "DescribableLogDirTopic", topic=name, partitions=parts) for name, parts in topics)
        answer = wire.ask(api, 4, topics=None if everything else wanted)
        assert answer.error_code.name == "none"
        (folder,) = answer.results
        assert folder.total_bytes >= folder.usable_bytes > 0
        return {
            (row.name, part.partition_index): part.partition_size
            for row in folder.topics
            for part in row.partitions
            if not part.is_future_key
            if part.offset_lag == 0
        }

    send(producer(kafka.bootstrap), topic, [bytes(1_000)], partition=1)
    assert sizes((topic, (0, 7)), (NOT_THERE, (0,))) == {(topic, 0): 0}
    assert 1_000 < sizes((topic, (1,)))[topic, 1] < 1_200
    assert {(topic, index) for index in range(3)} <= sizes(everything=True).keys()
    assert sizes() == {}


def test_a_partition_can_be_moved_only_to_the_folder_that_there_is(wire: WireClient, topic: str) -> None:
    (folder,) = wire.ask("describe_log_dirs", 4, topics=()).results

    def moved(path: str) -> set[tuple[str, int, str]]:
        api = "alter_replica_log_dirs"
        rows = tuple(
            nested(api, 2, "AlterReplicaLogDirTopic", name=name, partitions=parts)
            for name, parts in ((topic, (0, 9)), (NOT_THERE, (0,)))
        )
        answer = wire.ask(api, 2, dirs=(nested(api, 2, "AlterReplicaLogDir", path=path, topics=rows),))
        return {
            (row.topic_name, part.partition_index, part.error_code.name)
            for row in answer.results
            for part in row.partitions
        }

    unknown = "unknown_topic_or_partition"
    assert moved(folder.log_dir) == {(topic, 0, "none"), (topic, 9, unknown), (NOT_THERE, 0, unknown)}
    assert {code for _, _, code in moved("/nowhere")} == {"log_dir_not_found"}


# Leaders and replicas


@pytest.mark.parametrize("version", [0, 1, 2])
def test_no_election_is_needed(wire: WireClient, topic: str, version: int) -> None:
    api = "elect_leaders"
    rows = tuple(
        nested(api, version, "TopicPartitions", topic=name, partitions=parts)
        for name, parts in ((topic, (0, 5)), (NOT_THERE, (0,)))
    )
    answer = wire.ask(api, version, election_type=0, topic_partitions=rows, timeout=TIMEOUT)
    assert {
        (row.topic, part.partition_id, part.error_code.name)
        for row in answer.replica_election_results
        for part in row.partition_result
    } == {
        (topic, 0, "election_not_needed"),
        (topic, 5, "unknown_topic_or_partition"),
        (NOT_THERE, 0, "unknown_topic_or_partition"),
    }


def test_an_election_of_all_tells_of_none_that_was_not_needed(wire: WireClient, topic: str) -> None:
    answer = wire.ask("elect_leaders", 2, election_type=0, topic_partitions=None, timeout=TIMEOUT)
    assert answer.error_code.name == "none"
    assert {row.partition_result for row in answer.replica_election_results if row.topic == topic} <= {()}


def test_an_election_of_a_kind_that_does_not_exist_is_refused(wire: WireClient, topic: str) -> None:
    rows = (nested("elect_leaders", 2, "TopicPartitions", topic=topic, partitions=(0,)),)
    answer = wire.ask("elect_leaders", 2, election_type=7, topic_partitions=rows, timeout=TIMEOUT)
    assert answer.error_code.name == "invalid_request"


def test_librdkafka_is_told_that_no_election_is_needed(kafka: Cluster, topic: str) -> None:
    client = admin(kafka.bootstrap)  # one that is collected cancels its requests
    (error,) = client.elect_leaders(ElectionType.PREFERRED, [TopicPartition(topic, 0)]).result(WAIT_S).values()
    assert "ELECTION_NOT_NEEDED" in repr(error)


@pytest.mark.parametrize(
    ("replicas", "code"),
    [
        ((1,), "none"),
        ((2,), "invalid_replica_assignment"),
        ((), "invalid_replica_assignment"),
        ((1, 1), "invalid_replica_assignment"),
        (None, "no_reassignment_in_progress"),
    ],
)
def test_a_partition_can_be_assigned_only_to_the_broker_that_there_is(
    wire: WireClient, topic: str, replicas: tuple[int, ...] | None, code: str
) -> None:
    api = "alter_partition_reassignments"

    def row(name: str, index: int) -> Any:
        part = nested(api, 1, "ReassignablePartition", partition_index=index, replicas=replicas)
        return nested(api, 1, "ReassignableTopic", name=name, partitions=(part,))

    answer = wire.ask(api, 1, timeout=TIMEOUT, topics=(row(topic, 0), row(NOT_THERE, 0)))
    assert answer.error_code.name == "none"
    assert {each.name: each.partitions[0].error_code.name for each in answer.responses} == {
        topic: code,
        NOT_THERE: "unknown_topic_or_partition",
    }
    assert wire.ask("list_partition_reassignments", 0, timeout=TIMEOUT, topics=None).topics == ()


# The quorum


def test_the_quorum_is_this_broker_alone(wire: WireClient) -> None:
    def described(name: str, version: int) -> Any:
        api = "describe_quorum"
        part = nested(api, version, "PartitionData", partition_index=0)
        answer = wire.ask(
            api, version, topics=(nested(api, version, "TopicData", topic_name=name, partitions=(part,)),)
        )
        assert answer.error_code.name == "none"
        return answer.topics[0].partitions[0]

    for version in (0, 1, 2):
        quorum = described("__cluster_metadata", version)
        assert (quorum.error_code.name, quorum.leader_id) == ("none", 1)
        assert [voter.replica_id for voter in quorum.current_voters] == [1]
        assert quorum.observers == ()
        assert described(NOT_THERE, version).error_code.name == "unknown_topic_or_partition"


# Quotas and metrics of clients


def test_there_are_no_quotas(wire: WireClient) -> None:
    def described(kind: str) -> Any:
        component = nested("describe_client_quotas", 1, "ComponentData", entity_type=kind, match_type=2, match=None)
        return wire.ask("describe_client_quotas", 1, components=(component,), strict=False)

    assert (described("user").error_code.name, described("user").entries) == ("none", ())
    assert described("shoe-size").error_code.name == "unsupported_version"
    assert wire.ask("describe_client_quotas", 0, components=(), strict=False).entries == ()


def test_no_metrics_of_clients_are_wanted_and_no_client_is_told_to_ask(kafka: Cluster, wire: WireClient) -> None:
    told = wire.ask("api_versions", 3, client_software_name="x", client_software_version="1")
    assert not {71, 72} & {row.api_key for row in told.api_keys}
    identity = uuid.uuid4()
    answer = wire.ask("get_telemetry_subscriptions", 0, client_instance_id=identity)
    assert (answer.error_code.name, answer.client_instance_id, answer.requested_metrics) == ("none", identity, ())
    assert wire.ask("get_telemetry_subscriptions", 0, client_instance_id=None).client_instance_id is not None
    pushed = {"subscription_id": 77, "terminating": False, "compression_type": 0, "metrics": b""}
    answer = wire.ask("push_telemetry", 0, client_instance_id=identity, **pushed)
    assert answer.error_code.name == "unknown_subscription_id"
    assert wire.ask("push_telemetry", 0, client_instance_id=None, **pushed).error_code.name == "invalid_request"
