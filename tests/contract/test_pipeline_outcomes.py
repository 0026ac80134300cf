"""What an operator meets: each has one clear outcome, on both brokers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.brokers import Cluster, Names
from tests.support.clients import WAIT_S, admin, eventually, make_topic
from tests.support.pipeline import RunningLoop, SupervisedWorkers, put, read_until
from tests.support.secured import PASSWORDS, Secured, acl, apache_secured, embedded_secured, only_these, take_away
from tests.support.wire import WireClient

from tallystick.broker import EmbeddedBroker
from tallystick.broker.security.acl import Operation, PatternType, ResourceType
from tallystick.errors import ConfigurationError
from tallystick.pipeline import App, Emit, ErrorPolicy, Record, StoppedByPolicy, Topic
from tallystick.pipeline.policy import STOP
from tallystick.pipeline.worker_main import Exit

LARGE = 3_000


def copy_to(target: str, size: int = 0) -> Callable[[Record], Emit]:
    def copy(record: Record) -> Emit:
        value = record.value or b""
        return Emit(target, record.key, b"x" * size if value == b"large" else value)

    return copy


def refused_by_the_broker(kafka: Cluster, names: Names, policy: ErrorPolicy, **options: object) -> RunningLoop:
    """A loop whose output for ``large`` is more than the target's ``max.message.bytes``."""
    source = make_topic(kafka.bootstrap, names("in"))
    target = make_topic(kafka.bootstrap, names("out"), config={"max.message.bytes": str(LARGE - 1000)})
    put(kafka.bootstrap, source, [b"a", b"large", b"b"])
    return RunningLoop(
        kafka.bootstrap,
        names("large"),
        source,
        copy_to(target, LARGE),
        on_error=policy,
        **options,  # type: ignore[arg-type]
    )


def test_a_worker_that_stops_by_policy_ends_for_good_and_says_what_to_do(
    kafka: Cluster, names: Names, tmp_path: Path
) -> None:
    prefix = names("stop")
    make_topic(kafka.bootstrap, f"{prefix}-a", partitions=2)
    put(kafka.bootstrap, f"{prefix}-a", [b"no json"])
    with SupervisedWorkers(kafka.bootstrap, prefix, tmp_path, on_failure="stop") as workers:
        assert workers.wait() == Exit.STOPPED_BY_POLICY
        events = workers.log_events()
    assert len([one for one in events if one["event"] == "worker starts"]) == 1
    (said,) = [one for one in events if one["event"] == "stopped by policy"]
    assert f"{prefix}-a-" in said["error"]
    assert "tallystick dlq" in said["error"]
    assert "DecodeError" in said["exception"]


def test_a_batch_of_nothing_but_poison_is_as_many_dead_letters_in_one_transaction(kafka: Cluster, names: Names) -> None:
    source, group = make_topic(kafka.bootstrap, names("in")), names("poison")
    letters = make_topic(kafka.bootstrap, names("letters"))
    put(kafka.bootstrap, source, [b"no json"] * 50)
    app = App("poison")
    app.step(source=Topic(source, int), name="read")(lambda _event, _context: None)
    factory = app.steps[0].factory
    with RunningLoop(kafka.bootstrap, group, source, factory=factory, dead_letter_topic=letters) as running:
        read_until(kafka.bootstrap, letters, lambda found: len(found) == 50)
    assert running.raised is None
    assert running.loop.counters.dead_letters == 50
    assert running.loop.counters.aborts == {}


def test_an_output_larger_than_its_topic_takes_is_a_dead_letter(kafka: Cluster, names: Names) -> None:
    letters = make_topic(kafka.bootstrap, names("letters"))
    with refused_by_the_broker(kafka, names, ErrorPolicy(tries=2), dead_letter_topic=letters) as running:
        (letter,) = read_until(kafka.bootstrap, letters, lambda found: len(found) == 1)
        eventually(lambda: running.loop.counters.records_in == 3)
    assert letter.value() == b"large"
    assert running.raised is None


def test_an_output_larger_than_its_topic_takes_stops_a_step_whose_policy_it_is(kafka: Cluster, names: Names) -> None:
    with refused_by_the_broker(kafka, names, STOP) as running:
        running.join()
    assert isinstance(running.raised, StoppedByPolicy)
    assert "-0@1" in running.raised.place
    assert running.loop.counters.records_in == 1  # told apart: what came before it counts


def test_a_dead_letter_that_is_too_large_itself_stops_the_step_and_says_what_to_raise(
    kafka: Cluster, names: Names
) -> None:
    letters = make_topic(kafka.bootstrap, names("letters"), config={"max.message.bytes": "200"})
    with refused_by_the_broker(kafka, names, ErrorPolicy(tries=1), dead_letter_topic=letters) as running:
        running.join()
    assert isinstance(running.raised, ConfigurationError)
    assert f"max.message.bytes of {letters}" in str(running.raised)


def test_a_transaction_timeout_that_the_broker_does_not_allow_is_refused_at_start(kafka: Cluster, names: Names) -> None:
    source = make_topic(kafka.bootstrap, names("in"))
    settings = {"transaction.timeout.ms": 1_000_000}
    consumer = {"session.timeout.ms": 1_200_000, "max.poll.interval.ms": 2_000_000}
    with RunningLoop(
        kafka.bootstrap,
        names("long"),
        source,
        copy_to(source),
        producer_config=settings,
        consumer_config=consumer,
    ) as running:
        running.join()
    assert isinstance(running.raised, ConfigurationError)
    assert "INVALID_TRANSACTION_TIMEOUT" in str(running.raised)


@pytest.fixture(scope="module", params=["embedded", pytest.param("apache", marks=pytest.mark.apache)])
def secured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Each broker with users and access control lists."""
    opened = embedded_secured(tmp_path_factory.mktemp("secured")) if request.param == "embedded" else apache_secured()
    with opened as cluster:
        yield cluster


@pytest.mark.parametrize("taken", ["out", "in", "group", "id"])
def test_a_right_that_is_taken_away_stops_the_step_and_names_what_is_missing(
    secured: Secured, names: Names, taken: str
) -> None:
    source, target, group = (names(kind) for kind in ("in", "out", "group"))
    topics = {"in": source, "out": target, "letters": f"{group}.dead-letter"}
    for topic in topics.values():
        make_topic(secured.bootstrap, topic)
    rights = {name: acl(ResourceType.TOPIC, topic, Operation.ALL) for name, topic in topics.items()}
    rights["group"] = acl(ResourceType.GROUP, group, Operation.ALL)
    rights["id"] = acl(ResourceType.TRANSACTIONAL_ID, group, Operation.ALL, pattern=PatternType.PREFIXED)
    rights["cluster"] = acl(ResourceType.CLUSTER, "kafka-cluster", Operation.DESCRIBE)
    alice = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "alice",
        "sasl.password": PASSWORDS["alice"],
    }
    with WireClient(secured.bootstrap) as administrator:
        only_these(administrator, *rights.values())
        put(secured.bootstrap, source, [b"a"])
        with RunningLoop(
            secured.sasl_bootstrap,
            group,
            source,
            copy_to(target),
            consumer_config=alice,
            producer_config=alice,
        ) as running:
            eventually(lambda: running.loop.counters.records_in == 1 or running.ended)
            assert not running.ended, running.raised
            take_away(administrator, rights[taken])
            put(secured.bootstrap, source, [b"b"])
            running.join()
    assert isinstance(running.raised, ConfigurationError)
    said = {
        "out": target,
        "in": source,
        "group": "GROUP_AUTHORIZATION_FAILED",
        "id": "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    }
    assert said[taken] in str(running.raised)


@pytest.mark.parametrize("lanes", [1, 2])
def test_a_source_that_is_deleted_stops_the_step_and_is_named(kafka: Cluster, names: Names, lanes: int) -> None:
    source, target = make_topic(kafka.bootstrap, names("in"), partitions=2), make_topic(kafka.bootstrap, names("out"))
    put(kafka.bootstrap, source, [b"a"])
    quick = {"topic.metadata.propagation.max.ms": 500, "topic.metadata.refresh.interval.ms": 500}
    with RunningLoop(
        kafka.bootstrap, names("gone"), source, copy_to(target), consumer_config=quick, lanes=lanes
    ) as running:
        eventually(lambda: running.loop.counters.records_in == 1 or running.ended)
        client = admin(kafka.bootstrap)
        client.delete_topics([source])[source].result(WAIT_S)
        running.join()
    assert isinstance(running.raised, ConfigurationError)
    assert f"{source!r} was deleted" in str(running.raised)
    assert running.raised.rule == 10


def test_a_topic_that_is_not_there_stops_the_step_and_is_named(names: Names) -> None:
    with EmbeddedBroker(settings={"auto.create.topics.enable": "false"}) as broker:
        source = make_topic(broker.bootstrap, names("in"))
        put(broker.bootstrap, source, [b"a"])
        quick = {"topic.metadata.propagation.max.ms": 500}
        with RunningLoop(broker.bootstrap, names("typo"), source, copy_to("typo"), producer_config=quick) as running:
            running.join()
    assert isinstance(running.raised, ConfigurationError)
    assert "'typo'" in str(running.raised)
