"""Transactions: the same on our broker and on Apache Kafka."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import OffsetSpec
from tests.support.brokers import Cluster, Names
from tests.support.clients import (
    WAIT_S,
    assigned,
    await_markers,
    committed,
    consumer,
    end_offset,
    eventually,
    make_topic,
    poll_until,
    producer,
    read_all,
    read_ended,
    send,
    transactional,
)


def commit(client: Producer) -> None:
    client.commit_transaction(WAIT_S)


def abort(client: Producer) -> None:
    client.abort_transaction(WAIT_S)


def member(kafka: Cluster, group: str, topic: str, **config: str) -> Consumer:
    """A consumer that is a member of its group and has every partition of the topic."""
    made = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 500,
            "log_level": 0,
            **config,
        }
    )
    made.subscribe([topic])
    poll_until([made], lambda: assigned(made) != [])
    return made


def last_stable_offset(kafka: Cluster, topic: str) -> int:
    return end_offset(kafka.bootstrap, topic, OffsetSpec.latest(), stable=True)


def test_a_committed_transaction_becomes_visible_in_all_its_partitions(kafka: Cluster, names: Names) -> None:
    topic = make_topic(kafka.bootstrap, names("commit"), partitions=2)
    client = transactional(kafka.bootstrap, names("tx"))
    client.begin_transaction()
    send(client, topic, [b"a0", b"b0"], partition=0)
    send(client, topic, [b"a1"], partition=1)
    assert read_all(kafka.bootstrap, topic, partition=0) == []
    assert read_all(kafka.bootstrap, topic, partition=0, isolation="read_uncommitted") == [b"a0", b"b0"]
    commit(client)
    assert read_ended(kafka, topic, partition=0) == [b"a0", b"b0"]
    assert read_ended(kafka, topic, partition=1) == [b"a1"]


def test_an_aborted_transaction_is_never_visible_to_read_committed(kafka: Cluster, names: Names) -> None:
    topic = make_topic(kafka.bootstrap, names("abort"))
    client = transactional(kafka.bootstrap, names("tx"))
    client.begin_transaction()
    send(client, topic, [b"bad"])
    abort(client)
    client.begin_transaction()
    send(client, topic, [b"good"])
    commit(client)
    assert read_ended(kafka, topic) == [b"good"]
    assert read_all(kafka.bootstrap, topic, isolation="read_uncommitted") == [b"bad", b"good"]


def test_interleaved_transactions_are_told_apart(kafka: Cluster, names: Names) -> None:
    topic = make_topic(kafka.bootstrap, names("mixed"))
    good, bad = transactional(kafka.bootstrap, names("good")), transactional(kafka.bootstrap, names("bad"))
    for round_number in range(3):
        good.begin_transaction()
        bad.begin_transaction()
        for part in range(3):
            send(good, topic, [f"good{round_number}{part}".encode()])
            send(bad, topic, [f"bad{round_number}{part}".encode()])
        abort(bad)
        commit(good)
    assert read_ended(kafka, topic) == [f"good{i}{j}".encode() for i in range(3) for j in range(3)]


def test_nothing_after_an_open_transaction_is_visible_until_it_ends(kafka: Cluster, names: Names) -> None:
    topic = make_topic(kafka.bootstrap, names("stable"))
    client, plain = transactional(kafka.bootstrap, names("tx")), producer(kafka.bootstrap)
    send(plain, topic, [b"before"])
    client.begin_transaction()
    send(client, topic, [b"inside"])
    send(plain, topic, [b"after"])
    assert last_stable_offset(kafka, topic) == 1
    assert read_all(kafka.bootstrap, topic) == [b"before"]
    commit(client)
    assert read_ended(kafka, topic) == [b"before", b"inside", b"after"]
    assert last_stable_offset(kafka, topic) == 4  # three records and the marker


def test_a_marker_takes_an_offset_that_no_reader_gets(kafka: Cluster, names: Names) -> None:
    topic = make_topic(kafka.bootstrap, names("marker"))
    client = transactional(kafka.bootstrap, names("tx"))
    offsets = []
    for value in (b"one", b"two"):
        client.begin_transaction()
        offsets += [message.offset() for message in send(client, topic, [value])]
        commit(client)
    assert offsets == [0, 2]


def test_a_new_producer_of_the_same_id_fences_the_old_one(kafka: Cluster, names: Names) -> None:
    topic, identity = make_topic(kafka.bootstrap, names("fence")), names("tx")
    old = transactional(kafka.bootstrap, identity)
    old.begin_transaction()
    send(old, topic, [b"old"])
    new = transactional(kafka.bootstrap, identity)  # aborts the open transaction
    with pytest.raises(KafkaException) as refused:
        commit(old)
    assert refused.value.args[0].fatal()
    new.begin_transaction()
    send(new, topic, [b"new"])
    commit(new)
    assert read_ended(kafka, topic) == [b"new"]


def test_a_fenced_producers_records_are_refused(kafka: Cluster, names: Names) -> None:
    topic, identity = make_topic(kafka.bootstrap, names("zombie")), names("tx")
    old = transactional(kafka.bootstrap, identity)
    old.begin_transaction()
    send(old, topic, [b"first"])
    transactional(kafka.bootstrap, identity)
    old.produce(topic, b"zombie", partition=0)
    with pytest.raises(KafkaException) as refused:
        old.flush(WAIT_S)
    assert refused.value.args[0].name() == "_FENCED"
    assert b"zombie" not in read_all(kafka.bootstrap, topic, isolation="read_uncommitted")


def test_the_coordinator_aborts_a_transaction_that_outlives_its_timeout(kafka: Cluster, names: Names) -> None:
    topic = make_topic(kafka.bootstrap, names("timeout"))
    client = transactional(kafka.bootstrap, names("tx"), transaction_timeout_ms=5_000, message_timeout_ms=5_000)
    client.begin_transaction()
    send(client, topic, [b"late"])
    send(producer(kafka.bootstrap), topic, [b"after"])
    eventually(lambda: read_all(kafka.bootstrap, topic) == [b"after"])
    with pytest.raises(KafkaException) as refused:
        commit(client)
    error: KafkaError = refused.value.args[0]
    assert error.fatal() or error.txn_requires_abort()
    assert read_all(kafka.bootstrap, topic) == [b"after"]


def test_a_transaction_timeout_above_the_brokers_limit_is_refused(kafka: Cluster, names: Names) -> None:
    client = producer(kafka.bootstrap, transactional_id=names("tx"), transaction_timeout_ms=3_600_000)
    with pytest.raises(KafkaException) as refused:
        client.init_transactions(WAIT_S)
    assert refused.value.args[0].name() == "INVALID_TRANSACTION_TIMEOUT"


def test_offsets_and_records_commit_together(kafka: Cluster, names: Names) -> None:
    source, target, group = (make_topic(kafka.bootstrap, names(part)) for part in ("in", "out", "group"))
    send(producer(kafka.bootstrap), source, [b"1", b"2", b"3"])
    client = transactional(kafka.bootstrap, names("tx"))
    worker = member(kafka, group, source)
    metadata = worker.consumer_group_metadata()
    client.begin_transaction()
    send(client, target, [b"out"])
    client.send_offsets_to_transaction([TopicPartition(source, 0, 2)], metadata, WAIT_S)
    abort(client)
    assert committed(worker, source) < 0
    client.begin_transaction()
    send(client, target, [b"out again"])
    client.send_offsets_to_transaction([TopicPartition(source, 0, 3)], metadata, WAIT_S)
    commit(client)
    assert committed(worker, source) == 3
    assert read_ended(kafka, target) == [b"out again"]
    worker.close()


def test_a_pending_offset_is_unstable_for_who_asks_for_stable_ones(kafka: Cluster, names: Names) -> None:
    source, group = make_topic(kafka.bootstrap, names("in")), names("g")
    client = transactional(kafka.bootstrap, names("tx"))
    worker = member(kafka, group, source)
    client.begin_transaction()
    client.send_offsets_to_transaction([TopicPartition(source, 0, 9)], worker.consumer_group_metadata(), WAIT_S)
    with consumer(kafka.bootstrap, group, isolation_level="read_uncommitted") as unconcerned:
        assert committed(unconcerned, source) < 0
    with pytest.raises(KafkaException) as refused:
        worker.committed([TopicPartition(source, 0)], timeout=1.5)
    assert refused.value.args[0].name() in {"UNSTABLE_OFFSET_COMMIT", "_TIMED_OUT"}
    commit(client)
    assert committed(worker, source) == 9
    worker.close()


def test_the_offset_that_is_later_in_the_log_wins_over_the_one_committed_later(kafka: Cluster, names: Names) -> None:
    source, group = make_topic(kafka.bootstrap, names("in")), names("g")
    client = transactional(kafka.bootstrap, names("tx"))
    worker = member(kafka, group, source)
    client.begin_transaction()
    client.send_offsets_to_transaction([TopicPartition(source, 0, 100)], worker.consumer_group_metadata(), WAIT_S)
    worker.commit(offsets=[TopicPartition(source, 0, 150)], asynchronous=False)
    commit(client)
    assert committed(worker, source) == 150
    worker.close()


def test_offsets_of_a_generation_of_the_past_are_refused(kafka: Cluster, names: Names) -> None:
    source, group = make_topic(kafka.bootstrap, names("in"), partitions=2), names("g")
    client = transactional(kafka.bootstrap, names("tx"))
    worker = member(kafka, group, source)
    stale = worker.consumer_group_metadata()
    other = Consumer(
        {"bootstrap.servers": kafka.bootstrap, "group.id": group, "session.timeout.ms": 6000, "log_level": 0}
    )
    other.subscribe([source])
    poll_until([worker, other], lambda: len(assigned(worker)) == len(assigned(other)) == 1)
    client.begin_transaction()
    with pytest.raises(KafkaException) as refused:
        client.send_offsets_to_transaction([TopicPartition(source, 0, 5)], stale, WAIT_S)
    assert refused.value.args[0].name() == "ILLEGAL_GENERATION"
    assert refused.value.args[0].txn_requires_abort()
    abort(client)
    other.close()
    worker.close()


def test_an_open_transaction_survives_a_killed_broker_and_commits(kafka: Cluster, names: Names) -> None:
    source, target, group = (make_topic(kafka.bootstrap, names(part)) for part in ("in", "out", "group"))
    client = transactional(kafka.bootstrap, names("tx"))
    with consumer(kafka.bootstrap, group) as outsider:
        metadata = outsider.consumer_group_metadata()
        client.begin_transaction()
        send(client, target, [b"before"])
        client.send_offsets_to_transaction([TopicPartition(source, 0, 4)], metadata, WAIT_S)
        kafka.kill()
        kafka.restart()
        send(client, target, [b"after"])
        assert read_all(kafka.bootstrap, target) == []
        commit(client)
        assert read_ended(kafka, target) == [b"before", b"after"]
        assert committed(outsider, source) == 4


def test_a_transaction_left_open_over_a_kill_is_aborted_by_the_next_owner(kafka: Cluster, names: Names) -> None:
    topic, identity = make_topic(kafka.bootstrap, names("left")), names("tx")
    client = transactional(kafka.bootstrap, identity)
    client.begin_transaction()
    send(client, topic, [b"left behind"])
    kafka.kill()
    kafka.restart()
    heir = transactional(kafka.bootstrap, identity)
    heir.begin_transaction()
    send(heir, topic, [b"heir"])
    commit(heir)
    assert read_ended(kafka, topic) == [b"heir"]


def test_committed_and_aborted_stay_what_they_were_over_a_kill(kafka: Cluster, names: Names) -> None:
    topic = make_topic(kafka.bootstrap, names("settled"))
    client = transactional(kafka.bootstrap, names("tx"))
    expected = []
    for number in range(20):
        client.begin_transaction()
        value = f"{number}".encode()
        send(client, topic, [value])
        if number % 3:
            commit(client)
            expected.append(value)
        else:
            abort(client)
    await_markers(kafka, topic)
    kafka.kill()
    kafka.restart()
    assert read_all(kafka.bootstrap, topic) == expected
