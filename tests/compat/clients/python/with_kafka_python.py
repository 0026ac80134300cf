"""The verbs of tests/support/foreign.py with kafka-python."""

from __future__ import annotations

import os
from typing import Any

from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError
from tests.compat.clients.python.lines import closed, hear, run, say

WAIT_S = 30.0
FIRST_POLL_MS = 10_000
"""Far more than joining takes. kafka-python 3.0.12 forgets a join if its only reason was that the topic's metadata came
behind the first assignment, and the poll that began it ends before it: the member then has no partitions for good."""
LOGIN: dict[str, Any] = {}
if "CLIENT_USER" in os.environ:
    LOGIN = {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": os.environ["CLIENT_USER"],
        "sasl_plain_password": os.environ["CLIENT_PASSWORD"],
        "ssl_cafile": os.environ["CLIENT_CA"],
    }


def producer(bootstrap: str, identity: str | None = None) -> Any:
    made = KafkaProducer(
        bootstrap_servers=bootstrap, enable_idempotence=True, transactional_id=identity, retry_backoff_ms=5, **LOGIN
    )
    if identity is not None:
        made.init_transactions()
    return made


class Teller(ConsumerRebalanceListener):  # type: ignore[misc] # the package has no types
    """Tells which partitions the member has."""

    def on_partitions_revoked(self, revoked: object) -> None:
        pass

    def on_partitions_assigned(self, assigned: Any) -> None:
        say("assigned", partitions=[place.partition for place in assigned])


def member(bootstrap: str, topic: str, group: str) -> Any:
    made = KafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
        session_timeout_ms=6000,
        heartbeat_interval_ms=300,
        max_poll_records=5,
        **LOGIN,
    )
    made.subscribe([topic], listener=Teller())
    return made


def send(client: Any, topic: str, values: list[bytes]) -> None:
    sent = [client.send(topic, value, partition=0) for value in values]
    for one in sent:
        one.get(WAIT_S)


def offset_behind(record: Any) -> Any:
    return OffsetAndMetadata(record.offset + 1, "", -1)


def produce(bootstrap: str, topic: str, count: str) -> None:
    made = producer(bootstrap)
    send(made, topic, [str(number).encode() for number in range(int(count))])
    made.close()


def consume(bootstrap: str, topic: str, group: str) -> None:
    ended = closed()
    made = member(bootstrap, topic, group)
    wait_ms = FIRST_POLL_MS
    while not ended.is_set():
        polled, wait_ms = made.poll(wait_ms), 100
        for place, records in polled.items():
            for got in records:
                made.commit({place: offset_behind(got)})
                say("record", partition=got.partition, value=got.value.decode())
    made.close()


def transact(bootstrap: str, topic: str, identity: str, rounds: str) -> None:
    made = producer(bootstrap, identity)
    for number in range(int(rounds)):
        made.begin_transaction()
        send(made, topic, [str(number).encode()])
        if number % 2:
            made.abort_transaction()
        else:
            made.commit_transaction()
    made.close()


def copy(bootstrap: str, source: str, group: str, target: str, identity: str, count: str) -> None:
    """Each transaction is aborted once, and then done again."""
    writer, reader = producer(bootstrap, identity), member(bootstrap, source, group)
    copied = 0
    while copied < int(count):
        polled = reader.poll(FIRST_POLL_MS)
        values = [got.value for records in polled.values() for got in records]
        if not values:
            continue
        offsets: dict[TopicPartition, Any] = {place: offset_behind(records[-1]) for place, records in polled.items()}
        for end in (writer.abort_transaction, writer.commit_transaction):
            writer.begin_transaction()
            send(writer, target, values)
            writer.send_offsets_to_transaction(offsets, reader.group_metadata())
            end()
        copied += len(values)
    reader.close()
    writer.close()


def fenced(bootstrap: str, topic: str, identity: str) -> None:
    made = producer(bootstrap, identity)
    made.begin_transaction()
    send(made, topic, [b"old"])
    say("open")
    hear()
    try:
        made.commit_transaction()
    except KafkaError as refused:
        say("fenced", error=type(refused).__name__)
    else:
        say("committed")


if __name__ == "__main__":
    run({"produce": produce, "consume": consume, "transact": transact, "copy": copy, "fenced": fenced})
