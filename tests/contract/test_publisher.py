"""Events published one at a time: acknowledged or said not to be, under their own ids, by any thread or process."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from tests.support.brokers import Cluster, Names
from tests.support.clients import WAIT_S, eventually, make_topic
from tests.support.pipeline import header, read_until

from tallystick.broker import EmbeddedBroker
from tallystick.broker.faults import AnswerError, Fault, Match
from tallystick.errors import AmbiguousOutcome, ConfigurationError
from tallystick.ids import EVENT_ID_HEADER, EventId, deterministic_id
from tallystick.pipeline import AsyncPublisher, EventRefused, Publisher, PublisherFull, Topic

QUICK = {"delivery.timeout.ms": 1_000, "reconnect.backoff.max.ms": 100, "log_level": 0}


class Order(msgspec.Struct):
    n: int


def event(number: int) -> EventId:
    return deterministic_id("order", number)


def test_an_event_that_is_acknowledged_is_where_it_says_under_its_id(kafka: Cluster, names: Names) -> None:
    orders = Topic(make_topic(kafka.bootstrap, names("orders"), partitions=2), Order)
    with Publisher(kafka.bootstrap) as publisher:
        published = publisher.publish(orders, Order(1), event_id=event(1), key="k", headers=(("h", b"v"),), partition=1)
        again = publisher.publish(orders, Order(1), event_id=event(1), partition=1, timestamp_ms=5)
    assert (published.topic, published.partition, published.offset) == (orders.name, 1, 0)
    first, second = read_until(kafka.bootstrap, orders.name, lambda found: len(found) == 2, quiet_s=0)
    assert (first.key(), first.value(), header(first, "h")) == (b"k", b'{"n":1}', b"v")
    assert header(first, EVENT_ID_HEADER) == header(second, EVENT_ID_HEADER) == event(1).encode()
    assert (second.timestamp()[1], again.event_id) == (5, event(1))


def test_many_threads_and_tasks_publish_at_once(kafka: Cluster, names: Names) -> None:
    orders = Topic(make_topic(kafka.bootstrap, names("orders")), Order)
    with Publisher(kafka.bootstrap) as publisher, ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(publisher.publish, orders, Order(n), event_id=event(n)) for n in range(100)]
        offsets = {call.result().offset for call in calls}
    assert offsets == set(range(100))

    async def tasks() -> set[int]:
        async with AsyncPublisher(kafka.bootstrap) as publisher:
            answers = await asyncio.gather(
                *(publisher.publish(orders, Order(n), event_id=event(n)) for n in range(100))
            )
            assert publisher.waiting == 0
        return {answer.offset for answer in answers}

    assert asyncio.run(tasks()) == set(range(100, 200))


def test_a_broker_that_is_away_is_told_apart_from_a_queue_that_is_full(kafka: Cluster, names: Names) -> None:
    orders = Topic(make_topic(kafka.bootstrap, names("orders")), Order)
    with Publisher(kafka.bootstrap) as patient:
        patient.publish(orders, Order(0), event_id=event(0))
    publisher = Publisher(kafka.bootstrap, settings={**QUICK, "delivery.timeout.ms": 3_000}, max_waiting=3)
    kafka.kill()
    try:
        answers = [publisher.submit(orders, Order(n), event_id=event(n)) for n in (1, 2, 3)]
        with pytest.raises(PublisherFull, match="3 events wait"):
            publisher.publish(orders, Order(4), event_id=event(4))
        for answer in answers:
            with pytest.raises(AmbiguousOutcome, match="again under the same event id"):
                answer.result()
    finally:
        kafka.restart()
    patient = Publisher(kafka.bootstrap)
    for number in range(4):
        patient.publish(orders, Order(number), event_id=event(number))
    patient.close()
    publisher.close()
    stored = read_until(kafka.bootstrap, orders.name, lambda found: len(found) >= 5, quiet_s=0)
    assert {header(one, EVENT_ID_HEADER) for one in stored} == {event(n).encode() for n in range(4)}


def test_the_end_waits_for_what_is_on_its_way_and_says_what_is_missing(kafka: Cluster, names: Names) -> None:
    orders = Topic(make_topic(kafka.bootstrap, names("orders")), Order)
    publisher = Publisher(kafka.bootstrap)
    answer = publisher.submit(orders, Order(0), event_id=event(0))
    publisher.close()
    assert answer.done()
    with pytest.raises(ConfigurationError, match="closed"):
        publisher.publish(orders, Order(1), event_id=event(1))
    late = Publisher(kafka.bootstrap, settings={"log_level": 0})
    kafka.kill()
    try:
        answer = late.submit(orders, Order(1), event_id=event(1))
        with pytest.raises(AmbiguousOutcome, match="1 events"):
            late.close(timeout_ms=100)
        with pytest.raises(AmbiguousOutcome):
            answer.result()
    finally:
        kafka.restart()


def test_an_event_that_kafka_never_takes_is_refused(kafka: Cluster, names: Names) -> None:
    blobs = Topic(make_topic(kafka.bootstrap, names("blobs"), config={"max.message.bytes": "2000"}), bytes)
    with Publisher(kafka.bootstrap, settings={"log_level": 0}) as publisher:
        for size in (3_000, 2_000_000):  # refused by the broker, and by librdkafka
            with pytest.raises(EventRefused, match=r"(?i)large"):
                publisher.publish(blobs, b"x" * size, event_id=event(size))
        publisher.publish(blobs, b"x", event_id=event(1))


@pytest.fixture
def orders() -> Iterator[tuple[EmbeddedBroker, Topic[Order]]]:
    """A topic on a broker whose answers can be faulty."""
    with EmbeddedBroker() as broker:
        yield broker, Topic(make_topic(broker.bootstrap, "orders"), Order)


def desynchronise(broker: EmbeddedBroker) -> None:
    """The next records are said to come after others that are missing: that is fatal for an idempotent producer."""
    broker.faults.add(Fault(AnswerError("OUT_OF_ORDER_SEQUENCE_NUMBER"), on=Match(api="produce"), name="gap"))


def is_published(publisher: Publisher, topic: Topic[Order], number: int) -> bool:
    try:
        publisher.publish(topic, Order(number), event_id=event(number))
    except AmbiguousOutcome:
        return False
    return True


def test_a_fatal_error_of_the_client_answers_every_event_and_the_next_one_has_a_new_client(
    orders: tuple[EmbeddedBroker, Topic[Order]],
) -> None:
    broker, topic = orders
    with Publisher(broker.bootstrap, settings={"log_level": 0}) as publisher:
        publisher.publish(topic, Order(0), event_id=event(0))
        desynchronise(broker)
        answers = [publisher.submit(topic, Order(number), event_id=event(number)) for number in range(1, 10)]
        for answer in answers:
            with pytest.raises(AmbiguousOutcome, match="again under the same event id"):
                answer.result(WAIT_S)
        eventually(lambda: is_published(publisher, topic, 1))
        assert publisher.waiting == 0


def test_a_fatal_error_of_the_client_on_its_way_to_the_end_answers_every_event(
    orders: tuple[EmbeddedBroker, Topic[Order]],
) -> None:
    broker, topic = orders
    publisher = Publisher(broker.bootstrap, settings={"log_level": 0})
    publisher.publish(topic, Order(0), event_id=event(0))
    desynchronise(broker)
    answer = publisher.submit(topic, Order(1), event_id=event(1))
    publisher.close()
    with pytest.raises(AmbiguousOutcome, match="again under the same event id"):
        answer.result(0)


AFTER_FORK = """
import os, sys
from tallystick.ids import deterministic_id
from tallystick.pipeline import Publisher, Topic
publisher, topic = Publisher(sys.argv[1]), Topic(sys.argv[2], bytes)
publisher.publish(topic, b"parent", event_id=deterministic_id("fork", 0))
child = os.fork()
if child == 0:
    publisher.publish(topic, b"child", event_id=deterministic_id("fork", 1))
    publisher.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
publisher.publish(topic, b"parent again", event_id=deterministic_id("fork", 2))
publisher.close()
"""


def test_a_child_process_has_a_client_of_its_own(kafka: Cluster, names: Names) -> None:
    topic = make_topic(kafka.bootstrap, names("forked"))
    command = [sys.executable, "-c", AFTER_FORK, kafka.bootstrap, topic]
    subprocess.run(command, check=True, timeout=60, env=dict(os.environ))
    stored = read_until(kafka.bootstrap, topic, lambda found: len(found) == 3, quiet_s=0)
    assert [one.value() for one in stored] == [b"parent", b"child", b"parent again"]
