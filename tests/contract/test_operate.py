"""Looking at a cluster and mending it over the wire: the same on our broker and on Apache Kafka."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition as LibrdkafkaPartition
from confluent_kafka.admin import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from tests.support.brokers import Cluster as BrokerUnderTest
from tests.support.brokers import Names
from tests.support.clients import (
    admin,
    await_markers,
    consumer,
    eventually,
    make_topic,
    producer,
    send,
    take,
    transactional,
)
from tests.support.hanging import TOPIC, hanging_here
from tests.support.secured import PASSWORDS, Secured, acl, apache_secured, embedded_secured, only_these
from tests.support.wire import WireClient
from tests.support.wire_producer import TV1, WireProducer, find_coordinator
from typer.testing import CliRunner

from tallystick.broker.security.acl import Operation, ResourceType
from tallystick.cli.main import app
from tallystick.errors import FatalError
from tallystick.operate import ClientSettings, Cluster
from tallystick.operate.authentication import AuthenticationFailed
from tallystick.operate.cluster import TopicPartition, UnknownTopic
from tallystick.operate.connection import Disconnected
from tallystick.operate.groups import (
    CommittedOffset,
    committed_offsets,
    delete_group,
    delete_offsets,
    describe_group,
    list_groups,
    set_offsets,
)
from tallystick.operate.lag import group_lag
from tallystick.operate.offsets import EARLIEST, LATEST
from tallystick.operate.resets import Target, carry_out, plan_reset
from tallystick.operate.topics import create_topic, delete_topic, grow_topic, partition_ends, topic_settings
from tallystick.operate.transactions import (
    abort_hanging,
    describe_transaction,
    fence,
    list_transactions,
    open_transactions,
)


@pytest.fixture
def cluster(kafka: BrokerUnderTest) -> Iterator[Cluster]:
    with Cluster(ClientSettings(kafka.bootstrap)) as opened:
        yield opened


def now_ms() -> int:
    return int(time.time() * 1000)


def fill(bootstrap: str, topic: str, count: int, *, partition: int = 0) -> None:
    send(producer(bootstrap), topic, [b"%d" % number for number in range(count)], partition=partition)


def commit(bootstrap: str, group: str, topic: str, offset: int) -> None:
    with consumer(bootstrap, group) as reader:
        place = LibrdkafkaPartition(topic, 0, offset)
        eventually(lambda: committed(reader.commit(offsets=[place], asynchronous=False)))


def committed(places: list[LibrdkafkaPartition] | None) -> bool:
    return places is not None and all(place.error is None for place in places)


def test_lag_tells_a_slow_reader_from_an_open_transaction(
    kafka: BrokerUnderTest, cluster: Cluster, names: Names
) -> None:
    topic, group = make_topic(kafka.bootstrap, names("lag")), names("group")
    fill(kafka.bootstrap, topic, 5)
    commit(kafka.bootstrap, group, topic, 3)
    writer = transactional(kafka.bootstrap, names("tx"))
    writer.begin_transaction()
    send(writer, topic, [b"a", b"b"])
    (row,) = group_lag(cluster, group, now_ms=now_ms())
    assert (row.committed_offset, row.last_stable_offset, row.high_watermark) == (3, 5, 7)
    assert (row.lag_records, row.withheld_records) == (2, 2)
    assert row.open_since_ms is not None
    assert 0 <= row.open_since_ms < 60_000
    writer.commit_transaction()
    await_markers(kafka, topic)
    (row,) = group_lag(cluster, group, now_ms=now_ms())
    assert (row.lag_records, row.withheld_records, row.open_since_ms) == (5, 0, None)


def test_an_open_transaction_is_listed_described_and_aborted_and_its_program_fenced(
    kafka: BrokerUnderTest, cluster: Cluster, names: Names
) -> None:
    topic, identity = make_topic(kafka.bootstrap, names("open"), partitions=2), names("tx")
    with WireClient(kafka.bootstrap) as wire:
        find_coordinator(wire, identity, key_type=1)
        writer = WireProducer(wire, identity)
        assert writer.init() == "none"
        assert writer.produce(topic, partition=1)[0] == "none"
        assert identity in {found.transactional_id for found in list_transactions(cluster, states=["Ongoing"])}
        described = describe_transaction(cluster, identity, now_ms=now_ms())
        assert (described.state, described.producer_id) == ("Ongoing", writer.producer_id)
        assert (described.timeout_ms, described.places) == (60_000, (TopicPartition(topic, 1),))
        assert described.age_ms is not None
        (found,) = open_transactions(cluster, [TopicPartition(topic, 0), TopicPartition(topic, 1)], now_ms=now_ms())
        assert (found.producer.open_from, found.is_hanging) == (0, False)
        assert found.transaction is not None
        assert found.transaction.transactional_id == identity
        with pytest.raises(FatalError, match="does not hang"):
            abort_hanging(cluster, found)
        fence(cluster, identity)
        await_markers(kafka, topic, partition=1)
        assert open_transactions(cluster, [TopicPartition(topic, 1)], now_ms=now_ms()) == []
        eventually(lambda: describe_transaction(cluster, identity, now_ms=now_ms()).age_ms is None)
        assert writer.end(commit=True) in {"producer_fenced", "invalid_producer_epoch"}


def test_an_unknown_id_a_group_and_a_topic_that_are_not_there_are_named(cluster: Cluster, names: Names) -> None:
    with pytest.raises(FatalError, match=r"nobody.*TRANSACTIONAL_ID_NOT_FOUND"):
        describe_transaction(cluster, "nobody", now_ms=now_ms())
    with pytest.raises(FatalError, match="there is no group 'nobody'"):
        describe_group(cluster, "nobody")
    with pytest.raises(UnknownTopic, match="there-is-none"):
        cluster.topics(["there-is-none"])
    with pytest.raises(FatalError, match="no-such-state"):
        list_transactions(cluster, states=["no-such-state"])
    assert committed_offsets(cluster, names("nobody")) == {}


@pytest.mark.parametrize("target", ["earliest", "latest", "offset", "shift", "beyond"])
def test_a_reset_is_planned_and_then_done(kafka: BrokerUnderTest, cluster: Cluster, names: Names, target: str) -> None:
    topic, group = make_topic(kafka.bootstrap, names("reset")), names("group")
    fill(kafka.bootstrap, topic, 10)
    place = TopicPartition(topic, 0)
    set_offsets(cluster, group, {place: CommittedOffset(6, "a note")})
    wanted, expected = {
        "earliest": (Target(time_ms=EARLIEST), 0),
        "latest": (Target(time_ms=LATEST), 10),
        "offset": (Target(offset=4), 4),
        "shift": (Target(shift=-5), 1),
        "beyond": (Target(offset=1_000), 10),
    }[target]
    (move,) = plan_reset(cluster, group, wanted)
    assert (move.old_offset, move.new_offset) == (6, expected)
    assert (move.repeats_records, move.skips_records) == (max(0, 6 - expected), max(0, expected - 6))
    assert committed_offsets(cluster, group) == {place: CommittedOffset(6, "a note")}
    carry_out(cluster, group, [move])
    assert committed_offsets(cluster, group) == {place: CommittedOffset(expected, "a note")}


def test_a_reset_to_a_time_goes_to_the_first_record_that_is_not_older(
    kafka: BrokerUnderTest, cluster: Cluster, names: Names
) -> None:
    topic = make_topic(kafka.bootstrap, names("reset"), config={"retention.ms": "-1"})  # its records are old
    group, writer = names("group"), producer(kafka.bootstrap)
    for second in range(5):
        writer.produce(topic, b"x", partition=0, timestamp=1_700_000_000_000 + 1000 * second)
        writer.flush()
    commit(kafka.bootstrap, group, topic, 5)
    (move,) = plan_reset(cluster, group, Target(time_ms=1_700_000_001_500))
    assert move.new_offset == 2
    (move,) = plan_reset(cluster, group, Target(time_ms=1_800_000_000_000))
    assert move.new_offset == 5


def test_a_group_with_members_is_not_reset_and_not_deleted(
    kafka: BrokerUnderTest, cluster: Cluster, names: Names
) -> None:
    topic, group = make_topic(kafka.bootstrap, names("busy")), names("group")
    fill(kafka.bootstrap, topic, 1)
    with consumer(kafka.bootstrap, group, client_id="a-reader", group_instance_id="one") as reader:
        reader.subscribe([topic])
        take(reader, 1)
        reader.commit(asynchronous=False)
        found = describe_group(cluster, group)
        (member,) = found.members
        assert (found.kind, found.state) == ("classic", "Stable")
        assert (member.client_id, member.instance_id, member.host) == ("a-reader", "one", "127.0.0.1")
        assert group in {listed.name for listed in list_groups(cluster)}
        with pytest.raises(FatalError, match=r"has members: stop them first.*static member \(one\).*its session ends"):
            plan_reset(cluster, group, Target(time_ms=EARLIEST))
        with pytest.raises(FatalError, match="UNKNOWN_MEMBER_ID"):
            set_offsets(cluster, group, {TopicPartition(topic, 0): CommittedOffset(0, "")})
        with pytest.raises(FatalError, match="NON_EMPTY_GROUP"):
            delete_group(cluster, group)


def test_offsets_and_groups_are_deleted(kafka: BrokerUnderTest, cluster: Cluster, names: Names) -> None:
    topic, group = make_topic(kafka.bootstrap, names("gone"), partitions=2), names("group")
    places = [TopicPartition(topic, 0), TopicPartition(topic, 1)]
    commit(kafka.bootstrap, group, topic, 0)
    set_offsets(cluster, group, dict.fromkeys(places, CommittedOffset(0, "")))
    delete_offsets(cluster, group, places[:1])
    assert list(committed_offsets(cluster, group)) == places[1:]
    delete_group(cluster, group)
    assert group not in {listed.name for listed in list_groups(cluster)}


def test_a_topic_is_made_described_grown_and_deleted(kafka: BrokerUnderTest, cluster: Cluster, names: Names) -> None:
    name = names("topic")
    topic_id = create_topic(cluster, name, partitions=2, replication_factor=1, settings={"retention.ms": "60000"})
    eventually(lambda: name in cluster.topics())
    topic = cluster.topics([name])[name]
    assert (topic.topic_id, len(topic.leaders), topic.is_internal) == (topic_id, 2, False)
    assert topic_settings(cluster, name) == {"retention.ms": "60000"}
    fill(kafka.bootstrap, name, 3, partition=1)
    ends = partition_ends(cluster, topic)
    assert [(row.log_start_offset, row.last_stable_offset, row.high_watermark) for row in ends] == [
        (0, 0, 0),
        (0, 3, 3),
    ]
    grow_topic(cluster, name, partitions=3)
    eventually(lambda: len(cluster.topics([name])[name].leaders) == 3)
    with pytest.raises(FatalError, match="INVALID_PARTITIONS"):
        grow_topic(cluster, name, partitions=1)
    with pytest.raises(FatalError, match="TOPIC_ALREADY_EXISTS"):
        create_topic(cluster, name, partitions=1, replication_factor=1, settings={})
    delete_topic(cluster, name)
    eventually(lambda: name not in cluster.topics())


def hanging_in_apache_kafka(check: Callable[[str, str], None]) -> None:
    """As before KIP-890: a write that comes late, after its transaction was ended, begins one that nobody ends."""
    from tallystick.servers import ApacheKafka

    with (
        ApacheKafka(settings={"transaction.partition.verification.enable": "false"}) as server,
        WireClient(server.bootstrap) as wire,
    ):
        topic = make_topic(server.bootstrap, "t")
        find_coordinator(wire, "tx", key_type=1)
        writer = WireProducer(wire, "tx", versions=dict(TV1))
        assert writer.init() == "none"
        assert writer.produce(topic)[0] == "none"
        check(server.bootstrap, topic)


@pytest.mark.parametrize("broker", ["embedded", pytest.param("apache", marks=pytest.mark.apache)])
def test_a_hanging_transaction_is_found_and_ended(broker: str, tmp_path: Path) -> None:
    def check(bootstrap: str, topic: str) -> None:
        runner = CliRunner()
        place = TopicPartition(topic, 0)
        found = runner.invoke(app, ["txn", "open", "--hanging", "--bootstrap", bootstrap, "--json"])
        assert found.exit_code == 1, found.output
        row = json.loads(found.stdout)
        assert (row["partition"], row["from_offset"], row["verdict"]) == (str(place), 0, "hangs")
        abort = ["txn", "abort", "--partition", str(place), "--from-offset", "0", "--bootstrap", bootstrap]
        planned = runner.invoke(app, abort)
        assert planned.exit_code == 0
        assert "hangs; add --execute" in planned.stdout
        with Cluster(ClientSettings(bootstrap)) as cluster:
            assert len(open_transactions(cluster, [place], now_ms=now_ms())) == 1
            assert runner.invoke(app, [*abort, "--execute"]).exit_code == 0
            assert open_transactions(cluster, [place], now_ms=now_ms()) == []
            (ends,) = partition_ends(cluster, cluster.topics([topic])[topic])
            assert ends.last_stable_offset == ends.high_watermark
        assert runner.invoke(app, ["txn", "open", "--bootstrap", bootstrap]).exit_code == 0

    async def check_ours() -> None:
        async with hanging_here(tmp_path / "data") as (bootstrap, _):
            await asyncio.to_thread(check, bootstrap, TOPIC)

    if broker == "embedded":
        asyncio.run(check_ours())
    else:
        hanging_in_apache_kafka(check)


@pytest.fixture(scope="module", params=["embedded", pytest.param("apache", marks=pytest.mark.apache)])
def secured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    opened = embedded_secured(tmp_path_factory.mktemp("secured")) if request.param == "embedded" else apache_secured()
    with opened as broker:
        yield broker


def test_who_logs_in_sees_what_the_broker_lets_that_user_see(secured: Secured, tmp_path: Path) -> None:
    make_topic(secured.bootstrap, "seen")
    make_topic(secured.bootstrap, "unseen")
    with WireClient(secured.bootstrap) as admin:
        only_these(admin, acl(ResourceType.TOPIC, "seen", Operation.DESCRIBE))
    settings = tmp_path / "client.properties"
    settings.write_text(
        "# as for Kafka's own tools\nsecurity.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n"
        "sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required "
        f'username="alice" password="{PASSWORDS["alice"]}";\n'
    )
    arguments = ["topics", "list", "--bootstrap", secured.sasl_bootstrap, "--command-config", str(settings), "--json"]
    listed = CliRunner().invoke(app, arguments)
    assert listed.exit_code == 0, listed.output
    assert [json.loads(line)["topic"] for line in listed.stdout.splitlines()] == ["seen"]
    wrong = ClientSettings(
        secured.sasl_bootstrap, security_protocol="SASL_PLAINTEXT", sasl_username="alice", sasl_password="wrong"
    )
    with pytest.raises(AuthenticationFailed, match="refuses 'alice'"), Cluster(wrong) as cluster:
        cluster.topics()


def test_a_login_with_scram_is_mutual(secured: Secured, tmp_path: Path) -> None:
    client = admin(secured.bootstrap)
    kinds = {"SCRAM-SHA-256": ScramMechanism.SCRAM_SHA_256, "SCRAM-SHA-512": ScramMechanism.SCRAM_SHA_512}
    for number, (mechanism, kind) in enumerate(kinds.items()):
        name, password = f"a=b,{number}", "pencil, häß"
        made = UserScramCredentialUpsertion(name, ScramCredentialInfo(kind, 4096), password.encode())
        client.alter_user_scram_credentials([made])[name].result(30)
        login = ClientSettings(
            secured.sasl_bootstrap,
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism=mechanism,
            sasl_username=name,
            sasl_password=password,
        )

        def can_log_in(login: ClientSettings = login) -> bool:
            try:
                with Cluster(login) as cluster:
                    cluster.topics(())
            except AuthenticationFailed:
                return False
            return True

        eventually(can_log_in)


def test_a_wrong_address_says_so_at_once() -> None:
    with (
        pytest.raises(Disconnected, match=r"no broker answers at 127\.0\.0\.1:1"),
        Cluster(ClientSettings("127.0.0.1:1")) as cluster,
    ):
        cluster.topics()
