"""What every Kafka client does with our broker, held to the same sentences; librdkafka looks from the other side."""

from __future__ import annotations

import pytest
from tests.support.brokers import Cluster, Names
from tests.support.clients import committed, consumer, make_topic, producer, read_all, send, transactional
from tests.support.foreign import CLIENTS, ForeignClient, Members, command_of

pytestmark = pytest.mark.timeout(500)  # the first test of a client waits for its packages and its compiler

PARTITIONS = 4


@pytest.fixture(scope="session", params=CLIENTS)
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ForeignClient:
    """Each client in turn, its program built once."""
    name: str = request.param
    return ForeignClient(name, command_of(name, tmp_path_factory.mktemp(name)))


def test_what_it_produces_idempotently_is_read_in_order(
    embedded_cluster: Cluster, names: Names, client: ForeignClient
) -> None:
    topic = make_topic(embedded_cluster.bootstrap, names("produced"))
    client.run("produce", embedded_cluster.bootstrap, topic, 500)
    assert read_all(embedded_cluster.bootstrap, topic) == [str(number).encode() for number in range(500)]


def test_members_share_a_group_through_two_rebalances_and_read_each_record_once(
    embedded_cluster: Cluster, names: Names, client: ForeignClient
) -> None:
    bootstrap, group = embedded_cluster.bootstrap, names("g")
    topic = make_topic(bootstrap, names("shared"), partitions=PARTITIONS)
    ours = producer(bootstrap)
    expected: list[str] = []
    members = Members()

    def read_a_round(number: int) -> None:
        for partition in range(PARTITIONS):
            expected.append(f"{number}-{partition}")
            send(ours, topic, [expected[-1].encode()], partition=partition)
        members.until(lambda: len(members.values) >= len(expected))
        assert sorted(members.values) == expected

    with client.start("consume", bootstrap, topic, group) as first:
        members.join(first)
        members.until(lambda: members.share(PARTITIONS))
        read_a_round(1)
        with client.start("consume", bootstrap, topic, group) as second:
            members.join(second)
            members.until(lambda: members.share(PARTITIONS))
            read_a_round(2)
            members.leave()
        members.until(lambda: members.share(PARTITIONS))
        read_a_round(3)
        members.leave()
    with consumer(bootstrap, group) as reader:
        assert [committed(reader, topic, partition=number) for number in range(PARTITIONS)] == [3] * PARTITIONS


def test_its_transactions_commit_and_abort(embedded_cluster: Cluster, names: Names, client: ForeignClient) -> None:
    topic = make_topic(embedded_cluster.bootstrap, names("transacted"))
    client.run("transact", embedded_cluster.bootstrap, topic, names("tx"), 10)
    assert read_all(embedded_cluster.bootstrap, topic) == [b"0", b"2", b"4", b"6", b"8"]
    everything = read_all(embedded_cluster.bootstrap, topic, isolation="read_uncommitted")
    assert everything == [str(number).encode() for number in range(10)]


def test_it_reads_what_is_committed_and_copies_it_with_its_offsets_in_transactions(
    embedded_cluster: Cluster, names: Names, client: ForeignClient
) -> None:
    bootstrap, group = embedded_cluster.bootstrap, names("g")
    source, target = make_topic(bootstrap, names("in")), make_topic(bootstrap, names("out"))
    ours = transactional(bootstrap, names("tx"))
    kept: list[bytes] = []
    for number in range(9):
        ours.begin_transaction()
        values = [f"{number}-{part}".encode() for part in range(4)]
        send(ours, source, values)
        if number % 3 == 2:
            ours.abort_transaction(40)
        else:
            ours.commit_transaction(40)
            kept += values
    client.run("copy", bootstrap, source, group, target, names("copier"), len(kept))
    assert read_all(bootstrap, target) == kept
    attempted = read_all(bootstrap, target, isolation="read_uncommitted")
    assert len(attempted) > len(kept), "some of its transactions aborted"
    with consumer(bootstrap, group, isolation_level="read_committed") as reader:
        # Eight transactions end with one that is kept; each is four records and a marker. Some clients count the
        # marker, and the aborted records behind it, as read.
        assert committed(reader, source) >= 8 * 5 - 1


def test_a_successor_with_its_transactional_id_fences_it(
    embedded_cluster: Cluster, names: Names, client: ForeignClient
) -> None:
    bootstrap, identity = embedded_cluster.bootstrap, names("tx")
    topic = make_topic(bootstrap, names("fenced"))
    with client.start("fenced", bootstrap, topic, identity) as zombie:
        zombie.expect("open")
        heir = transactional(bootstrap, identity)
        heir.begin_transaction()
        send(heir, topic, [b"new"])
        zombie.tell()
        zombie.expect("fenced")
        heir.commit_transaction(40)
    assert read_all(bootstrap, topic) == [b"new"]
