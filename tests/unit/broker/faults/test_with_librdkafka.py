"""Faults against a client that retries by itself: what it makes of them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from tests.support.brokers import unique_name
from tests.support.clients import WAIT_S, consumer, make_topic, producer, read_all, send, take, transactional

from tallystick.broker import EmbeddedBroker, LocalBroker
from tallystick.broker.faults import (
    Action,
    AnswerError,
    Cut,
    Delay,
    DropRequest,
    DropResponse,
    Duplicate,
    Fault,
    FullDisk,
    Hold,
    Kill,
    Match,
)

VALUES = [b"%d" % number for number in range(20)]
END_TXN = Match(api="end_txn", transactional_id="shop-*")
IMPATIENT: dict[str, Any] = {"socket_timeout_ms": 1000, "transaction_timeout_ms": 60_000}


@pytest.fixture(scope="module")
def shared_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    """In a child only: most of the time here is the client's waiting."""
    with EmbeddedBroker(tmp_path_factory.mktemp("broker"), num_partitions=2) as running:
        yield running


@pytest.fixture
def topic(broker: LocalBroker) -> str:
    return make_topic(broker.bootstrap, unique_name("orders"))


def commit(shop: Producer, topic: str, values: list[bytes]) -> None:
    shop.begin_transaction()
    send(shop, topic, values)
    shop.commit_transaction(WAIT_S)


@pytest.mark.parametrize(
    "action",
    [
        DropRequest(),
        DropResponse(),
        Cut(),
        Cut("after"),
        Duplicate(),
        Delay(50),
        Delay(50, "after"),
        AnswerError("COORDINATOR_LOAD_IN_PROGRESS"),
        AnswerError("COORDINATOR_LOAD_IN_PROGRESS", "after"),
    ],
    ids=str,
)
def test_whatever_happens_to_end_txn_the_client_commits_exactly_once(
    broker: LocalBroker, topic: str, action: Action
) -> None:
    shop = transactional(broker.bootstrap, unique_name("shop"), **IMPATIENT)
    fault = Fault(action, on=END_TXN)
    broker.faults.add(fault)
    commit(shop, topic, VALUES[:10])
    assert [entry.fault for entry in broker.faults.injected] == [fault.label]
    commit(shop, topic, VALUES[10:])
    assert read_all(broker.bootstrap, topic) == VALUES


@pytest.mark.parametrize(
    "action", [DropResponse(), Cut("after"), Duplicate(), AnswerError("NOT_LEADER_OR_FOLLOWER", "after")], ids=str
)
def test_an_idempotent_producer_writes_each_record_once_over_lost_answers(
    broker: LocalBroker, topic: str, action: Action
) -> None:
    broker.faults.add(Fault(action, on=Match(api="produce", topic=topic, partition=0), times=3))
    client = producer(broker.bootstrap, linger_ms=0, batch_num_messages=5, **IMPATIENT)
    send(client, topic, VALUES)
    assert len(broker.faults.injected) == 3
    assert read_all(broker.bootstrap, topic) == VALUES


def test_a_plan_with_a_seed_cuts_and_the_records_arrive_in_order(broker: LocalBroker, topic: str) -> None:
    broker.faults.add(Fault(Cut("after"), on=Match(api="produce"), times=None, probability=0.3))
    client = producer(
        broker.bootstrap, linger_ms=0, batch_num_messages=1, reconnect_backoff_ms=1, reconnect_backoff_max_ms=5
    )
    values = [b"%d" % number for number in range(40)]
    send(client, topic, values)
    assert broker.faults.injected
    assert read_all(broker.bootstrap, topic) == values


@pytest.mark.parametrize("action", [Kill(), Kill("after")], ids=str)
def test_a_broker_that_dies_in_end_txn_has_one_commit_when_it_is_back(own_broker: LocalBroker, action: Action) -> None:
    topic = make_topic(own_broker.bootstrap, "orders")
    shop = transactional(own_broker.bootstrap, "shop-1", metadata_recovery_strategy="none")
    kill = Fault(action, on=END_TXN)
    own_broker.faults.add(kill)
    shop.begin_transaction()
    send(shop, topic, VALUES)
    with contextlib.ExitStack() as undo:
        committing = threading.Thread(target=shop.commit_transaction, args=(WAIT_S,))
        committing.start()
        undo.callback(committing.join)
        own_broker.faults.wait_for(kill)
        own_broker.start()
    assert read_all(own_broker.bootstrap, topic) == VALUES


def test_a_group_commits_its_offset_over_an_error_and_a_full_disk(broker: LocalBroker, topic: str) -> None:
    send(producer(broker.bootstrap), topic, VALUES)
    group = unique_name("readers")
    broker.faults.add(
        Fault(AnswerError("COORDINATOR_LOAD_IN_PROGRESS"), on=Match(api="offset_commit", group=group)),
        Fault(AnswerError("REBALANCE_IN_PROGRESS"), on=Match(api="heartbeat", group=group)),
    )
    with consumer(broker.bootstrap, group) as reader:
        reader.subscribe([topic])
        take(reader, len(VALUES))
        reader.commit(asynchronous=False)
        (place,) = reader.committed([TopicPartition(topic, 0)], timeout=WAIT_S)
        assert place.offset == len(VALUES)


def test_a_held_end_txn_keeps_readers_from_the_records(broker: LocalBroker, topic: str) -> None:
    shop = transactional(broker.bootstrap, unique_name("shop"))
    hold = Fault(Hold(), on=END_TXN)
    broker.faults.add(hold)
    shop.begin_transaction()
    send(shop, topic, VALUES)
    committing = threading.Thread(target=shop.commit_transaction, args=(WAIT_S,))
    committing.start()
    broker.faults.wait_for(hold)
    assert read_all(broker.bootstrap, topic) == []
    broker.faults.release()
    committing.join()
    assert read_all(broker.bootstrap, topic) == VALUES


def test_a_producer_waits_for_room_on_the_disk(broker: LocalBroker, topic: str) -> None:
    broker.faults.add(Fault(FullDisk(3), on=Match(api="produce", topic=topic)))
    client = producer(broker.bootstrap, linger_ms=0)
    send(client, topic, VALUES)
    assert read_all(broker.bootstrap, topic) == VALUES
