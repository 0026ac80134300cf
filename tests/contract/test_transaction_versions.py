"""Transaction versions 1 and 2 (KIP-890) request by request: the same on our broker and on Apache Kafka."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.brokers import Cluster, Names
from tests.support.clients import await_markers, eventually, make_topic
from tests.support.wire import WireClient, nested
from tests.support.wire_producer import TV1, TV2, WireProducer, find_coordinator, log_of

VERSIONS = pytest.mark.parametrize("versions", [TV1, TV2], ids=["version 1", "version 2"])


@pytest.fixture
def wire(kafka: Cluster) -> Iterator[WireClient]:
    with WireClient(kafka.bootstrap) as client:
        find_coordinator(client, "any", key_type=1)
        yield client


@pytest.fixture
def topic(kafka: Cluster, names: Names) -> str:
    return make_topic(kafka.bootstrap, names("versions"), partitions=2)


@pytest.fixture
def producer(wire: WireClient, names: Names) -> WireProducer:
    """Of transaction version 2, initialised."""
    made = WireProducer(wire, names("tx"))
    assert made.init() == "none"
    return made


def sibling(of: WireProducer, *, behind: int = 0, **fields: Any) -> WireProducer:
    """The same producer, with an epoch that many behind."""
    made = WireProducer(of.client, of.transactional_id, **fields)
    made.take(of.producer_id, of.producer_epoch - behind)
    return made


def begin(producer: WireProducer, topic: str, value: bytes = b"x") -> None:
    """Write one record in a transaction, in the manner of the producer's version."""
    if producer.versions == TV1:
        assert producer.add_partitions(topic, 0) == ["none"]
    assert producer.produce(topic, value)[0] == "none"


def log(kafka: Cluster, wire: WireClient, topic: str) -> list[tuple[str, int]]:
    """What is in the first partition once no transaction is open in it: kind and epoch."""
    await_markers(kafka, topic)
    return [(kind, epoch) for kind, _, epoch, _ in log_of(wire, topic)]


def test_transaction_version_2_is_finalised(kafka: Cluster, wire: WireClient) -> None:
    answer = wire.ask("api_versions", 4, client_software_name="contract", client_software_version="1")
    supported = {feature.name: (feature.min_version, feature.max_version) for feature in answer.supported_features}
    finalised = {feature.name: feature.max_version_level for feature in answer.finalized_features}
    assert answer.finalized_features_epoch >= 0
    assert supported["transaction.version"] == (0, 2)
    assert finalised["transaction.version"] == 2
    assert finalised["metadata.version"] == 30
    assert finalised["kraft.version"] == 1
    assert kafka.name == "apache" or set(finalised) <= {*supported}


def test_a_client_of_api_versions_3_is_told_no_feature_that_begins_at_zero(wire: WireClient) -> None:
    answer = wire.ask("api_versions", 3, client_software_name="contract", client_software_version="1")
    assert [(feature.name, feature.min_version) for feature in answer.supported_features] == [("metadata.version", 7)]
    assert {feature.name for feature in answer.finalized_features} >= {"transaction.version", "metadata.version"}


def test_every_end_raises_the_epoch_and_the_marker_has_the_raised_one(
    kafka: Cluster, wire: WireClient, topic: str, producer: WireProducer
) -> None:
    producer_id, epoch = producer.owner
    for number, commit in enumerate((True, False, True), start=1):
        begin(producer, topic)
        assert producer.end(commit=commit) == "none"
        assert producer.owner == (producer_id, epoch + number)
    assert log(kafka, wire, topic) == [
        ("data", 0),
        ("commit", 1),
        ("data", 1),
        ("abort", 2),
        ("data", 2),
        ("commit", 3),
    ]


@pytest.mark.parametrize("commit", [True, False])
def test_a_retried_end_succeeds_and_another_outcome_does_not(topic: str, producer: WireProducer, commit: bool) -> None:
    begin(producer, topic)
    late = sibling(producer)
    assert producer.end(commit=commit) == "none"
    for _ in range(2):
        assert late.end(commit=commit, follow=False) == "none"
        assert late.end(commit=not commit) == "invalid_txn_state"
    late.end(commit=commit)
    assert late.owner == producer.owner


def test_a_late_end_does_not_end_the_next_transaction(
    kafka: Cluster, wire: WireClient, topic: str, producer: WireProducer
) -> None:
    """Rule 15, closed by the protocol itself in version 2: the same on both brokers, over any connection."""
    begin(producer, topic)
    late = sibling(producer)
    assert producer.end(commit=True) == "none"
    begin(producer, topic)
    with WireClient(kafka.bootstrap) as other:
        late.client = other
        assert late.end(commit=True) == "producer_fenced"
        assert late.end(commit=False) == "producer_fenced"
    assert producer.end(commit=False) == "none"
    assert log(kafka, wire, topic) == [("data", 0), ("commit", 1), ("data", 1), ("abort", 2)]


def test_a_late_record_of_an_ended_transaction_is_refused(kafka: Cluster, topic: str, producer: WireProducer) -> None:
    begin(producer, topic)
    late = sibling(producer)
    assert producer.end(commit=True) == "none"
    await_markers(kafka, topic)  # until then Apache Kafka takes it into the transaction that was committed
    for version in (10, 11, 12):
        assert late.produce(topic, sequence=1, version=version)[0] == "invalid_producer_epoch"
    begin(producer, topic)
    assert late.produce(topic, sequence=1)[0] == "invalid_producer_epoch"
    for partition in (0, 1):
        assert late.produce(topic, sequence=0, partition=partition)[0] == "invalid_producer_epoch"


def test_an_abort_of_nothing_raises_the_epoch_and_a_commit_of_nothing_is_refused(
    topic: str, producer: WireProducer
) -> None:
    epoch = producer.producer_epoch
    assert producer.end(commit=True) == "invalid_txn_state"
    assert producer.end(commit=False) == "none"
    assert producer.end(commit=False) == "none"
    assert producer.producer_epoch == epoch + 2
    begin(producer, topic)
    assert producer.end(commit=True) == "none"
    assert producer.end(commit=True) == "invalid_txn_state"
    assert producer.end(commit=False) == "none"
    assert producer.producer_epoch == epoch + 4


def test_version_1_ends_nothing_without_a_transaction_and_keeps_its_epoch(wire: WireClient, names: Names) -> None:
    producer = WireProducer(wire, names("tx"), dict(TV1))
    assert producer.init() == "none"
    assert producer.end(commit=True) == "invalid_txn_state"
    assert producer.end(commit=False) == "invalid_txn_state"


def test_one_transactional_id_may_be_used_in_both_versions_in_turn(
    kafka: Cluster, wire: WireClient, topic: str, producer: WireProducer
) -> None:
    assert producer.add_partitions(topic, 0) == ["none"]
    assert producer.produce(topic, version=11)[0] == "none"
    assert producer.end(commit=True, version=5) == "none"
    assert producer.produce(topic, version=12)[0] == "none"
    assert producer.end(commit=True, version=4) == "none"
    await_markers(kafka, topic)  # until then Apache Kafka takes the record into the transaction that was committed
    assert producer.produce(topic, version=11)[0] == "transaction_abortable"
    assert producer.add_partitions(topic, 0) == ["none"]
    assert producer.produce(topic, version=11)[0] == "none"
    assert producer.end(commit=False, version=4) == "none"
    heir = WireProducer(wire, producer.transactional_id, dict(TV1))
    assert heir.init() == "none"
    assert heir.owner == (producer.producer_id, producer.producer_epoch + 1)
    assert log(kafka, wire, topic) == [
        ("data", 0),
        ("commit", 1),
        ("data", 1),
        ("commit", 1),
        ("data", 1),
        ("abort", 1),
    ]


@VERSIONS
def test_a_successor_fences_the_open_transaction(
    kafka: Cluster, wire: WireClient, topic: str, names: Names, versions: dict[str, int]
) -> None:
    old = WireProducer(wire, names("tx"), dict(versions))
    assert old.init() == "none"
    begin(old, topic)
    new = WireProducer(wire, old.transactional_id, dict(versions))
    assert new.init() == "none"
    assert new.owner == (old.producer_id, old.producer_epoch + 2)
    assert log(kafka, wire, topic) == [("data", 0), ("abort", 1)]
    assert old.produce(topic)[0] == "invalid_producer_epoch"
    assert old.end(commit=False) == "producer_fenced"
    assert old.end(commit=True) == "producer_fenced"
    assert old.init(named=True) == "producer_fenced"


@VERSIONS
def test_a_producer_that_names_itself_ends_its_own_transaction_and_a_lost_answer_is_repeated(
    kafka: Cluster, wire: WireClient, topic: str, names: Names, versions: dict[str, int]
) -> None:
    producer = WireProducer(wire, names("tx"), dict(versions))
    assert producer.init() == "none"
    begin(producer, topic)
    before = sibling(producer)
    assert producer.init(named=True) == "none"
    assert producer.owner == (before.producer_id, before.producer_epoch + 1)
    assert before.init(named=True) == "none"
    assert before.owner == producer.owner
    assert log(kafka, wire, topic) == [("data", 0), ("abort", 1)]


@VERSIONS
def test_a_producer_whose_transaction_timed_out_goes_on_with_the_raised_epoch(
    kafka: Cluster, wire: WireClient, topic: str, names: Names, versions: dict[str, int]
) -> None:
    producer = WireProducer(wire, names("tx"), dict(versions), timeout_ms=3_000)
    assert producer.init() == "none"
    begin(producer, topic)
    eventually(lambda: [kind for kind, *_ in log_of(wire, topic)] == ["data", "abort"])
    before = sibling(producer, versions=dict(versions))
    assert producer.produce(topic)[0] == "invalid_producer_epoch"
    if versions == TV1:
        assert producer.end(commit=False) == producer.end(commit=True) == "producer_fenced"
    else:
        assert producer.end(commit=True) == "invalid_txn_state"
        assert producer.end(commit=False) == "none"
        assert producer.producer_epoch == before.producer_epoch + 1
        begin(producer, topic)
        assert producer.end(commit=True) == "none"
        return
    assert producer.init(named=True) == "none"
    assert producer.owner == (before.producer_id, before.producer_epoch + 1)
    assert log(kafka, wire, topic) == [("data", 0), ("abort", 1)]


def test_what_the_transaction_does_not_know_is_refused_by_the_name_that_the_version_knows(
    kafka: Cluster, wire: WireClient, topic: str, names: Names, producer: WireProducer
) -> None:
    group = names("g")
    find_coordinator(wire, group, key_type=0)
    for version, expected in ((9, "invalid_txn_state"), (10, "invalid_txn_state"), (11, "transaction_abortable")):
        assert producer.produce(topic, version=version)[0] == expected
    for version, expected in ((3, "invalid_txn_state"), (4, "transaction_abortable")):
        assert producer.commit_offset(group, topic, 1, version=version) == expected
    stranger = sibling(producer)
    stranger.take(producer.producer_id + 1_000_000, 0)
    for version in (11, 12):
        assert stranger.produce(topic, version=version)[0] == "invalid_producer_id_mapping"
    for version in (4, 5):
        assert stranger.commit_offset(group, topic, 1, version=version) == "invalid_producer_id_mapping"
    nobody = WireProducer(wire, names("nobody"))
    nobody.take(producer.producer_id, producer.producer_epoch)
    for version in (11, 12):
        assert nobody.produce(topic, version=version)[0] == "invalid_producer_id_mapping"
    for version in (3, 4, 5):
        assert nobody.commit_offset(group, topic, 1, version=version) == "invalid_producer_id_mapping"


@VERSIONS
def test_an_empty_transactional_id_is_an_invalid_request(
    wire: WireClient, topic: str, names: Names, versions: dict[str, int]
) -> None:
    group = names("g")
    find_coordinator(wire, group, key_type=0)
    producer = WireProducer(wire, "", dict(versions))
    assert producer.init() == "invalid_request"
    producer.take(1 << 40, 0)  # nobody's: an id in use has an epoch of its own in the offsets' partition
    assert producer.end(commit=True) == "invalid_request"
    assert producer.add_partitions(topic, 0) == ["invalid_request"]
    assert producer.add_offsets(group) == "invalid_request"
    assert producer.commit_offset(group, topic, 1) == "invalid_request"
    assert producer.produce(topic)[0] == "invalid_request"


def test_offsets_join_the_transaction_by_being_written(
    kafka: Cluster, wire: WireClient, topic: str, names: Names, producer: WireProducer
) -> None:
    group = names("g")
    find_coordinator(wire, group, key_type=0)
    assert producer.commit_offset(group, topic, 7) == "none"
    late = sibling(producer)
    assert producer.end(commit=True) == "none"
    eventually(lambda: stable_offset(wire, group, topic) == 7)  # until then Apache Kafka takes the late offset, too
    for version in (3, 4, 5):
        assert late.commit_offset(group, topic, 3, version=version) == "invalid_producer_epoch"
    assert producer.commit_offset(group, topic, 9) == "none"
    assert producer.end(commit=False) == "none"
    eventually(lambda: stable_offset(wire, group, topic) == 7)


def stable_offset(wire: WireClient, group: str, topic: str) -> int | str:
    asked = nested("offset_fetch", 7, "OffsetFetchRequestTopic", name=topic, partition_indexes=(0,))
    answer = wire.ask("offset_fetch", 7, group_id=group, topics=(asked,), require_stable=True)
    row = answer.topics[0].partitions[0]
    return int(row.committed_offset) if row.error_code.name == "none" else str(row.error_code.name)


def test_offsets_of_an_unknown_member_are_refused_and_the_transaction_is_aborted(
    wire: WireClient, topic: str, names: Names, producer: WireProducer
) -> None:
    group = names("g")
    find_coordinator(wire, group, key_type=0)
    assert producer.commit_offset(group, topic, 7) == "none"
    assert producer.commit_offset(group, topic, 8, member_id="gone", generation_id=4) == "unknown_member_id"
    assert producer.end(commit=False) == "none"


def test_the_first_batch_of_a_version_2_producer_in_a_partition_has_sequence_zero(
    wire: WireClient, topic: str, names: Names, producer: WireProducer
) -> None:
    assert producer.produce(topic, sequence=5)[0] == "out_of_order_sequence_number"
    assert producer.produce(topic, sequence=0)[0] == "none"
    assert producer.end(commit=True) == "none"
    assert producer.produce(topic, sequence=1)[0] == "out_of_order_sequence_number"
    assert producer.end(commit=False) == "none"
    before = WireProducer(wire, names("tx"), dict(TV1))
    assert before.init() == "none"
    assert before.add_partitions(topic, 1) == ["none"]
    assert before.produce(topic, partition=1, sequence=5)[0] == "none"
    idempotent = WireProducer(wire, None)
    assert idempotent.init() == "none"
    assert idempotent.produce(topic, partition=1, sequence=5, transactional=False)[0] == "none"


def test_a_transactional_batch_without_a_transactional_id_is_refused(topic: str, producer: WireProducer) -> None:
    begin(producer, topic)
    producer.transactional_id = None
    for version in (11, 12):
        assert producer.produce(topic, version=version)[0] == "transactional_id_authorization_failed"


@VERSIONS
def test_an_open_transaction_of_either_version_survives_a_kill(
    kafka: Cluster, topic: str, names: Names, versions: dict[str, int]
) -> None:
    with WireClient(kafka.bootstrap) as client:
        find_coordinator(client, "any", key_type=1)
        producer = WireProducer(client, names("tx"), dict(versions))
        assert producer.init() == "none"
        begin(producer, topic)
    kafka.kill()
    kafka.restart()
    with WireClient(kafka.bootstrap) as client:
        find_coordinator(client, "any", key_type=1)
        producer.client = client
        retry = sibling(producer)
        retry.client = client
        assert producer.end(commit=True) == "none"
        assert versions == TV1 or retry.end(commit=True) == "none"
        raised = 1 if versions == TV2 else 0
        assert log(kafka, client, topic) == [("data", 0), ("commit", raised)]
