"""Apache Kafka's Java client through our broker, exchanging transactions with librdkafka.

The Java side is the tools that Kafka's project tests itself with, in the version of the newest client.
"""

from __future__ import annotations

import json
import threading

import pytest
from confluent_kafka import TopicPartition
from tests.support.brokers import Cluster, Names
from tests.support.clients import (
    assigned,
    committed,
    consumer,
    make_topic,
    member,
    poll_until,
    producer,
    read_all,
    send,
    transactional,
)
from tests.support.java import run_tool, running_tool
from tests.support.wire import WireClient
from tests.support.wire_producer import log_of

COPIER = "org.apache.kafka.tools.TransactionalMessageCopier"
CONSOLE_CONSUMER = "org.apache.kafka.tools.consumer.ConsoleConsumer"
VERIFIABLE_CONSUMER = "org.apache.kafka.tools.VerifiableConsumer"
VERIFIABLE_PRODUCER = "org.apache.kafka.tools.VerifiableProducer"

WAIT_S = 30.0


def committed_and_aborted(bootstrap: str, topic: str, transactional_id: str, *, rounds: int) -> list[bytes]:
    """Write transactions with librdkafka, every third one aborted; return the committed values in order."""
    client = transactional(bootstrap, transactional_id)
    kept: list[bytes] = []
    for number in range(rounds):
        client.begin_transaction()
        values = [f"{number}-{part}".encode() for part in range(5)]
        send(client, topic, values)
        if number % 3 == 2:
            client.abort_transaction(WAIT_S)
        else:
            client.commit_transaction(WAIT_S)
            kept += values
    return kept


def test_java_s_idempotent_producer_writes_what_librdkafka_reads(embedded_cluster: Cluster, names: Names) -> None:
    bootstrap = embedded_cluster.bootstrap
    topic = make_topic(bootstrap, names("java"))
    printed = run_tool(
        VERIFIABLE_PRODUCER, "--bootstrap-server", bootstrap, "--topic", topic, "--max-messages", "500", "--acks", "-1"
    )
    events = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    assert sum(event["name"] == "producer_send_success" for event in events) == 500
    assert read_all(bootstrap, topic) == [str(number).encode() for number in range(500)]


def test_java_reads_only_what_librdkafka_committed(embedded_cluster: Cluster, names: Names) -> None:
    bootstrap = embedded_cluster.bootstrap
    topic = make_topic(bootstrap, names("committed"))
    kept = committed_and_aborted(bootstrap, topic, names("tx"), rounds=9)
    arguments = ["--bootstrap-server", bootstrap, "--topic", topic, "--from-beginning", "--group", names("g")]
    arguments += ["--max-messages", str(len(kept)), "--command-property", "isolation.level=read_committed"]
    assert run_tool(CONSOLE_CONSUMER, *arguments).split() == [value.decode() for value in kept]


@pytest.mark.parametrize("membership", ["assigned", "subscribed"])
def test_java_consumes_and_produces_in_transactions_that_librdkafka_reads(
    embedded_cluster: Cluster, names: Names, membership: str
) -> None:
    """The whole exchange: librdkafka's records in, Java's transactions with offsets out, random aborts between."""
    bootstrap = embedded_cluster.bootstrap
    source, target, group = make_topic(bootstrap, names("in")), make_topic(bootstrap, names("out")), names("g")
    arguments = ["--broker-list", bootstrap, "--input-topic", source, "--input-partition", "0"]
    arguments += ["--output-topic", target, "--consumer-group", group, "--transactional-id", names("java")]
    arguments += ["--transaction-size", "7", "--enable-random-aborts", "--use-group-metadata"]
    if membership == "assigned":
        kept = committed_and_aborted(bootstrap, source, names("tx"), rounds=12)
        arguments += ["--max-messages", str(len(kept))]
    else:  # this mode of the tool counts offsets, so markers and aborted records would make it wait forever
        kept = [str(number).encode() for number in range(60)]
        send(producer(bootstrap), source, kept)
        arguments += ["--group-mode"]
    run_tool(COPIER, *arguments)
    assert read_all(bootstrap, target) == kept
    with consumer(bootstrap, group) as reader:
        assert committed(reader, source) >= len(kept)


def test_java_negotiates_transaction_version_2(embedded_cluster: Cluster, names: Names) -> None:
    """Seen in the log: each transaction has an epoch of its own, and its marker the next one (KIP-890)."""
    bootstrap = embedded_cluster.bootstrap
    source, target = make_topic(bootstrap, names("in")), make_topic(bootstrap, names("out"))
    send(producer(bootstrap), source, [str(number).encode() for number in range(20)])
    run_tool(
        COPIER,
        *("--broker-list", bootstrap, "--input-topic", source, "--input-partition", "0", "--output-topic", target),
        *("--consumer-group", names("g"), "--transactional-id", names("java"), "--transaction-size", "5"),
    )
    with WireClient(bootstrap) as client:
        log = [(kind, epoch) for kind, _, epoch, _ in log_of(client, target)]
    first = log[0][1]
    assert log == [
        row for number in range(first, first + 4) for row in [*[("data", number)] * 5, ("commit", number + 1)]
    ]


def test_a_java_transaction_is_fenced_by_librdkafka_with_the_same_id(embedded_cluster: Cluster, names: Names) -> None:
    bootstrap, identity = embedded_cluster.bootstrap, names("shared-id")
    source, target = make_topic(bootstrap, names("in")), make_topic(bootstrap, names("out"))
    send(producer(bootstrap), source, [str(number).encode() for number in range(20)])
    run_tool(
        COPIER,
        *("--broker-list", bootstrap, "--input-topic", source, "--input-partition", "0", "--output-topic", target),
        *("--consumer-group", names("g"), "--transactional-id", identity, "--transaction-size", "5"),
    )
    heir = transactional(bootstrap, identity)  # takes over the producer id that Java's epochs were counted on
    heir.begin_transaction()
    send(heir, target, [b"heir"])
    heir.commit_transaction(WAIT_S)
    assert read_all(bootstrap, target) == [str(number).encode() for number in range(20)] + [b"heir"]


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_java_and_librdkafka_share_a_group(embedded_cluster: Cluster, names: Names, protocol: str) -> None:
    bootstrap = embedded_cluster.bootstrap
    topic, group = make_topic(bootstrap, names("shared"), partitions=4), names("g")
    java_has: list[int] = []
    java_committed: set[int] = set()

    def follow(lines: object) -> None:
        for line in lines:  # type: ignore[attr-defined]
            if not line.startswith("{"):
                continue
            event = json.loads(line)
            places = [place["partition"] for place in event.get("partitions", ()) if "partition" in place]
            if event["name"] == "partitions_assigned":
                java_has.extend(places)
            elif event["name"] == "partitions_revoked":
                java_has[:] = [partition for partition in java_has if partition not in places]
            elif event["name"] == "offsets_committed":
                java_committed.update(row["partition"] for row in event["offsets"])

    if protocol == "classic":
        ours_joins = consumer(bootstrap, group, partition_assignment_strategy="range")
        java_joins = ("--session-timeout", "6000")
    else:
        ours_joins, java_joins = member(bootstrap, group), ("--group-protocol", "consumer")
    with ours_joins as ours:
        ours.subscribe([topic])
        poll_until([ours], lambda: assigned(ours) == [0, 1, 2, 3])
        arguments = ["--bootstrap-server", bootstrap, "--topic", topic, "--group-id", group]
        with running_tool(VERIFIABLE_CONSUMER, *arguments, *java_joins) as tool:
            reader = threading.Thread(target=follow, args=(tool.stdout,), daemon=True)
            reader.start()
            poll_until([ours], lambda: sorted(assigned(ours) + java_has) == [0, 1, 2, 3] and len(java_has) == 2)
            for partition in range(4):
                send(producer(bootstrap), topic, [b"x"], partition=partition)
            poll_until([ours], lambda: java_committed == set(java_has))
            tool.terminate()
            reader.join(WAIT_S)
        poll_until([ours], lambda: assigned(ours) == [0, 1, 2, 3])
        positions = ours.committed([TopicPartition(topic, partition) for partition in range(4)], timeout=WAIT_S)
        assert sorted(place.offset for place in positions)[2:] == [1, 1], "what Java committed is there for the next"
