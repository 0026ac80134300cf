"""WriteTxnMarkers and DescribeProducers (KIP-664): the same on our broker and on Apache Kafka."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.brokers import Cluster, Names
from tests.support.clients import await_markers, make_topic
from tests.support.wire import WireClient, nested
from tests.support.wire_producer import WireProducer, find_coordinator, log_of


@pytest.fixture
def wire(kafka: Cluster) -> Iterator[WireClient]:
    with WireClient(kafka.bootstrap) as client:
        find_coordinator(client, "any", key_type=1)
        yield client


@pytest.fixture
def topic(kafka: Cluster, names: Names) -> str:
    return make_topic(kafka.bootstrap, names("markers"))


@pytest.fixture
def producer(wire: WireClient, names: Names, topic: str) -> WireProducer:
    """With one record in an open transaction."""
    made = WireProducer(wire, names("tx"))
    assert made.init() == "none"
    assert made.produce(topic)[0] == "none"
    return made


def write_marker(
    wire: WireClient, topic: str, owner: tuple[int, int], *, commit: bool = False, version: int = 1, **fields: Any
) -> str:
    row = nested("write_txn_markers", version, "WritableTxnMarkerTopic", name=topic, partition_indexes=(0,))
    marker = {
        "producer_id": owner[0],
        "producer_epoch": owner[1],
        "transaction_result": commit,
        "topics": (row,),
        "coordinator_epoch": 0,
        "transaction_version": 0,
    }
    answer = wire.ask(
        "write_txn_markers",
        version,
        markers=(nested("write_txn_markers", version, "WritableTxnMarker", **(marker | fields)),),
    )
    (answered,) = answer.markers
    assert answered.producer_id == owner[0]
    return str(answered.topics[0].partitions[0].error_code.name)


def producers(wire: WireClient, topic: str, partition: int = 0) -> Any:
    asked = nested("describe_producers", 0, "TopicRequest", name=topic, partition_indexes=(partition,))
    (answered,) = wire.ask("describe_producers", 0, topics=(asked,)).topics
    (row,) = answered.partitions
    return row


def state_of(wire: WireClient, topic: str) -> tuple[int, int, int, int]:
    """Epoch, last sequence, coordinator epoch and first offset of the open transaction of the one producer."""
    (row,) = producers(wire, topic).active_producers
    return row.producer_epoch, row.last_sequence, row.coordinator_epoch, row.current_txn_start_offset


def test_a_partition_tells_of_its_producers(
    kafka: Cluster, wire: WireClient, topic: str, producer: WireProducer
) -> None:
    (row,) = producers(wire, topic).active_producers
    assert row.producer_id == producer.producer_id
    assert row.last_timestamp > 1_600_000_000_000
    assert state_of(wire, topic) == (0, 0, -1, 0)
    assert producer.produce(topic)[0] == "none"
    assert state_of(wire, topic) == (0, 1, -1, 0)
    assert producer.end(commit=True) == "none"
    await_markers(kafka, topic)
    epoch, last_sequence, coordinator_epoch, open_from = state_of(wire, topic)
    assert (epoch, last_sequence, open_from) == (1, -1, -1)
    # Apache Kafka counts the starts of its coordinator there; other tests may have restarted this cluster.
    assert coordinator_epoch >= 0


def test_an_unknown_partition_has_no_producers_and_takes_no_marker(
    wire: WireClient, topic: str, producer: WireProducer
) -> None:
    for name, partition in ((topic, 9), ("there-is-none", 0)):
        row = producers(wire, name, partition)
        assert (row.error_code.name, row.active_producers) == ("unknown_topic_or_partition", ())
    assert write_marker(wire, "there-is-none", producer.owner) == "unknown_topic_or_partition"


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("commit", [True, False])
def test_a_marker_from_outside_ends_what_is_open(
    kafka: Cluster, wire: WireClient, topic: str, producer: WireProducer, commit: bool, version: int
) -> None:
    assert write_marker(wire, topic, producer.owner, commit=commit, version=version) == "none"
    kind = "commit" if commit else "abort"
    assert [(row[0], row[2]) for row in log_of(wire, topic)] == [("data", 0), (kind, 0)]
    assert state_of(wire, topic) == (0, 0, 0, -1)
    assert producer.end(commit=True) == "none"


def test_a_marker_of_a_lower_epoch_or_coordinator_is_refused(
    kafka: Cluster, wire: WireClient, topic: str, producer: WireProducer
) -> None:
    assert producer.end(commit=True) == "none"
    await_markers(kafka, topic)
    producer_id, epoch = producer.owner
    assert write_marker(wire, topic, (producer_id, epoch - 1)) == "invalid_producer_epoch"
    assert write_marker(wire, topic, producer.owner, coordinator_epoch=-1) == "transaction_coordinator_fenced"


def test_a_marker_of_transaction_version_2_has_a_higher_epoch_than_what_it_ends(
    kafka: Cluster, wire: WireClient, topic: str, producer: WireProducer
) -> None:
    producer_id, epoch = producer.owner
    refused = write_marker(wire, topic, producer.owner, version=2, transaction_version=2)
    assert refused == "invalid_producer_epoch"
    assert [row[0] for row in log_of(wire, topic)] == ["data"]
    for _ in ("first", "repeated"):
        accepted = write_marker(wire, topic, (producer_id, epoch + 1), version=2, transaction_version=2)
        assert accepted == "none"
    assert [row[0] for row in log_of(wire, topic)][:2] == ["data", "abort"]
