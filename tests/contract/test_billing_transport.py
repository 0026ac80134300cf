"""Sending and reading whole topics, on each broker."""

from __future__ import annotations

import pytest
from confluent_kafka import Producer
from tests.support.brokers import Cluster, Names

from tallystick.billing.transport import read_topics, send
from tallystick.errors import FatalError
from tallystick.ids import deterministic_id
from tallystick.pipeline.kafka_client import Cluster as Admin
from tallystick.pipeline.records import Output


def outputs(topic: str, count: int) -> list[Output]:
    return [
        Output(topic, f"key-{number % 7}".encode(), str(number).encode(), deterministic_id("test", topic, number))
        for number in range(count)
    ]


def test_what_is_sent_is_read_with_its_ids_and_in_the_order_of_each_key(kafka: Cluster, names: Names) -> None:
    topic, other = names("transport"), names("transport")
    Admin({"bootstrap.servers": kafka.bootstrap}).create_topics({topic: 3, other: 1})
    told: list[int] = []
    assert send(kafka.bootstrap, outputs(topic, 1_234), on_sent=told.append) == 1_234
    assert told == [500, 1_000, 1_234]
    read = read_topics(kafka.bootstrap, [topic, other])
    assert read[other] == []
    assert sorted(record.event_id for record in read[topic]) == sorted(one.event_id for one in outputs(topic, 1_234))
    for key in {record.key for record in read[topic]}:
        values = [int(record.value or b"") for record in read[topic] if record.key == key]
        assert values == sorted(values)


def test_aborted_records_are_not_read_and_nothing_hangs_at_the_end(kafka: Cluster, names: Names) -> None:
    topic = names("transport")
    Admin({"bootstrap.servers": kafka.bootstrap}).create_topics({topic: 2})
    send(kafka.bootstrap, outputs(topic, 20))
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": names("transport")})
    producer.init_transactions(30)
    for ends in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        for number in range(10):
            producer.produce(topic, ends.__name__, str(number))
        producer.flush(30)
        ends(30)
    values = [record.value for record in read_topics(kafka.bootstrap, [topic])[topic]]
    assert len(values) == 30
    assert values.count(b"commit_transaction") == 10


def test_a_topic_that_does_not_exist_is_an_error(kafka: Cluster, names: Names) -> None:
    with pytest.raises(FatalError, match="does not exist"):
        read_topics(kafka.bootstrap, [names("nowhere")], consumer_config={"allow.auto.create.topics": False})
