"""A peer at work and the topics that are on it.

Owns: making, filling and removing topics. Must not know: what is measured on them.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bench.speed.peers import Peer
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

PARTITIONS: Final = 4
TIMEOUT_S: Final = 300
_RECORDS_AT_ONCE: Final = 10_000
_ABORTED_ONE_IN: Final = 10

BATCHED: Final = {
    "acks": "all",
    "enable.idempotence": True,
    "linger.ms": 5,
    "batch.size": 1_000_000,
    "queue.buffering.max.messages": 1_000_000,
}
"""How librdkafka batches here: it fills batches of 1 MB, or of 10,000 records."""


def client(bootstrap: str) -> dict[str, object]:
    """What every librdkafka client is told; of what it has to say, errors only."""
    return {"bootstrap.servers": bootstrap, "log_level": 3}


class Site:
    """One peer. Topics that are read more than once are filled once and stay."""

    def __init__(self, name: str, peer: Peer) -> None:
        self.name = name
        self.peer = peer
        self._filled: dict[tuple[int, int, bool], str] = {}

    @property
    def bootstrap(self) -> str:
        return self.peer.bootstrap

    def make_topic(self, *, partitions: int = PARTITIONS) -> str:
        name = f"bench-{uuid.uuid4()}"
        admin = AdminClient(client(self.bootstrap))
        for future in admin.create_topics([NewTopic(name, partitions, 1)]).values():
            future.result(TIMEOUT_S)
        return name

    @contextmanager
    def topic(self, *, partitions: int = PARTITIONS) -> Iterator[str]:
        """A topic for one measurement; removed afterwards, so that the disk does not fill."""
        name = self.make_topic(partitions=partitions)
        yield name
        admin = AdminClient(client(self.bootstrap))
        for future in admin.delete_topics([name]).values():
            future.result(TIMEOUT_S)

    def filled(self, *, records: int, size_bytes: int, transactional: bool) -> str:
        """A topic with as many records to read; ``transactional``: and, over that, one transaction in ten aborted."""
        key = (records, size_bytes, transactional)
        if key not in self._filled:
            self._filled[key] = topic = self.make_topic()
            fill = fill_by_transactions if transactional else fill_plainly
            fill(self.bootstrap, topic, records=records, size_bytes=size_bytes)
        return self._filled[key]


def flush(producer: Producer) -> None:
    """Wait until everything is acknowledged; ``RuntimeError`` if it is not."""
    left = producer.flush(TIMEOUT_S)
    if left:
        raise RuntimeError(f"{left} records were not acknowledged within {TIMEOUT_S} s")


def fill_plainly(bootstrap: str, topic: str, *, records: int, size_bytes: int, partitions: int = PARTITIONS) -> None:
    """Write the records in turn to the partitions, idempotently, and wait until all of them are acknowledged."""
    producer = Producer(client(bootstrap) | BATCHED)
    at_once = min(_RECORDS_AT_ONCE, records // partitions)
    batch = [{"value": b"x" * size_bytes}] * at_once
    for number, first in enumerate(range(0, records, at_once)):
        producer.produce_batch(topic, batch[: records - first], partition=number % partitions)
        producer.poll(0)
        while len(producer) > BATCHED["queue.buffering.max.messages"] - at_once:
            producer.poll(0.005)
    flush(producer)


def fill_by_transactions(bootstrap: str, topic: str, *, records: int, size_bytes: int) -> None:
    """The same in transactions of 10,000 records, and after nine of them one that is aborted."""
    settings = client(bootstrap) | BATCHED | {"transactional.id": f"bench-{uuid.uuid4()}"}
    producer = Producer(settings)
    producer.init_transactions(TIMEOUT_S)
    batch = [{"value": b"x" * size_bytes}] * _RECORDS_AT_ONCE
    committed = number = 0
    while committed < records:
        number += 1
        producer.begin_transaction()
        producer.produce_batch(topic, batch, partition=number % PARTITIONS)
        flush(producer)
        if number % _ABORTED_ONE_IN == 0:
            producer.abort_transaction(TIMEOUT_S)
        else:
            producer.commit_transaction(TIMEOUT_S)
            committed += len(batch)
