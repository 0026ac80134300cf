"""Measures of transactions of one record with an offset, back to back, by one librdkafka producer."""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Final

from bench.speed.measure import Figures, Measure
from bench.speed.site import PARTITIONS, TIMEOUT_S, Site, client
from confluent_kafka import Consumer, Producer, TopicPartition

QUICK: Final[Mapping[str, object]] = {"linger.ms": 0, "retry.backoff.ms": 5}
DEFAULTS: Final[Mapping[str, object]] = {}
_NOT_COUNTED: Final = 50


def _transactions(site: Site, count: int, settings: Mapping[str, object]) -> Figures:
    with site.topic() as topic:
        durations = _durations(site.bootstrap, topic, count + _NOT_COUNTED, settings)[_NOT_COUNTED:]
    return {
        "transactions/s": 1000 * len(durations) / sum(durations),
        "99th percentile, ms": statistics.quantiles(durations, n=100)[98],
    }


def _durations(bootstrap: str, topic: str, count: int, settings: Mapping[str, object]) -> list[float]:
    identity = f"bench-{uuid.uuid4()}"
    consumer = Consumer(client(bootstrap) | {"group.id": identity})
    producer = Producer(client(bootstrap) | {"transactional.id": identity, **settings})
    producer.init_transactions(TIMEOUT_S)
    group = consumer.consumer_group_metadata()
    durations = []
    for number in range(count):
        started = time.perf_counter()
        producer.begin_transaction()
        producer.produce(topic, b"x" * 100, partition=number % PARTITIONS)
        producer.send_offsets_to_transaction([TopicPartition(topic, 0, number)], group, TIMEOUT_S)
        producer.commit_transaction(TIMEOUT_S)
        durations.append((time.perf_counter() - started) * 1000)
    consumer.close()
    return durations


def measures(count: int) -> Iterator[Measure]:
    yield Measure("1-record transactions with offsets", lambda site: _transactions(site, count, QUICK))
    yield Measure(
        "1-record transactions with offsets, librdkafka's defaults",
        lambda site: _transactions(site, max(count // 5, 20), DEFAULTS),
    )
