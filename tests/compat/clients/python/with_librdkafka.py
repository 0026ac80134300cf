"""The verbs of tests/support/foreign.py with confluent-kafka."""

from __future__ import annotations

import os
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from tests.compat.clients.python.lines import closed, hear, run, say

WAIT_S = 30.0
LOGIN: dict[str, Any] = {}
if "CLIENT_USER" in os.environ:
    LOGIN = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": os.environ["CLIENT_USER"],
        "sasl.password": os.environ["CLIENT_PASSWORD"],
        "ssl.ca.location": os.environ["CLIENT_CA"],
        "message.timeout.ms": 10_000,
    }


def producer(bootstrap: str, identity: str | None = None) -> Producer:
    settings: dict[str, Any] = {"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 2} | LOGIN
    if identity is None:
        return Producer(settings)
    made = Producer(settings | {"transactional.id": identity})
    made.init_transactions(WAIT_S)
    return made


def member(bootstrap: str, topic: str, group: str) -> Consumer:
    made = Consumer(
        {
            **{name: value for name, value in LOGIN.items() if name != "message.timeout.ms"},
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 300,
        }
    )

    def assigned(_: Consumer, places: list[TopicPartition]) -> None:
        say("assigned", partitions=[place.partition for place in places])

    made.subscribe([topic], on_assign=assigned)
    return made


def send(client: Producer, topic: str, values: list[bytes]) -> None:
    failures: list[object] = []
    for value in values:
        client.produce(topic, value, partition=0, on_delivery=lambda error, _: failures.append(error))
    if client.flush(WAIT_S) or any(failures):
        raise RuntimeError(f"not everything was acknowledged: {failures}")


def produce(bootstrap: str, topic: str, count: str) -> None:
    send(producer(bootstrap), topic, [str(number).encode() for number in range(int(count))])


def consume(bootstrap: str, topic: str, group: str) -> None:
    ended = closed()
    made = member(bootstrap, topic, group)
    while not ended.is_set():
        got = made.poll(0.1)
        if got is None:
            continue
        made.commit(message=got, asynchronous=False)
        say("record", partition=got.partition(), value=(got.value() or b"").decode())
    made.close()


def transact(bootstrap: str, topic: str, identity: str, rounds: str) -> None:
    made = producer(bootstrap, identity)
    for number in range(int(rounds)):
        made.begin_transaction()
        send(made, topic, [str(number).encode()])
        if number % 2:
            made.abort_transaction(WAIT_S)
        else:
            made.commit_transaction(WAIT_S)


def copy(bootstrap: str, source: str, group: str, target: str, identity: str, count: str) -> None:
    """Each transaction is aborted once, and then done again."""
    writer, reader = producer(bootstrap, identity), member(bootstrap, source, group)
    copied = 0
    while copied < int(count):
        records: list[Message] = reader.consume(5, 0.2)
        if not records:
            continue
        places = reader.position(reader.assignment())
        for end in (writer.abort_transaction, writer.commit_transaction):
            writer.begin_transaction()
            send(writer, target, [got.value() or b"" for got in records])
            writer.send_offsets_to_transaction(places, reader.consumer_group_metadata(), WAIT_S)
            end(WAIT_S)
        copied += len(records)
    reader.close()


def fenced(bootstrap: str, topic: str, identity: str) -> None:
    made = producer(bootstrap, identity)
    made.begin_transaction()
    send(made, topic, [b"old"])
    say("open")
    hear()
    try:
        made.commit_transaction(WAIT_S)
    except KafkaException as refused:
        say("fenced", error=refused.args[0].name())
    else:
        say("committed")


if __name__ == "__main__":
    run({"produce": produce, "consume": consume, "transact": transact, "copy": copy, "fenced": fenced})
