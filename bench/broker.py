"""The embedded broker beside Apache Kafka: the same client, the same work, in turns.

Run ``make bench``. Each round runs every measure once on each broker, the order of the brokers alternating, so that a
machine that slows down slows both. Printed: the median of the rounds and the ratio of the medians. Settings are the
same for both brokers: ``linger.ms=0`` and ``retry.backoff.ms=5`` for transactions (librdkafka's defaults make Apache
Kafka look slower than it is), ``linger.ms=5`` and ``acks=all``, idempotent, for the produce rate.
"""

from __future__ import annotations

import argparse
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Protocol

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tallystick.broker import EmbeddedBroker
from tallystick.servers import ApacheKafka

PARTITIONS = 4


class Broker(Protocol):
    bootstrap: str


def make_topic(bootstrap: str) -> str:
    name = f"bench-{uuid.uuid4()}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics([NewTopic(name, PARTITIONS, 1)]).values():
        future.result(30)
    return name


def produce_rate(bootstrap: str, *, records: int, size_bytes: int) -> tuple[str, float]:
    """Records per second, idempotent, acks=all, until the last one is acknowledged."""
    topic = make_topic(bootstrap)
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "linger.ms": 5,
            "batch.size": 1_000_000,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    batch = [{"value": b"x" * size_bytes} for _ in range(10_000)]
    started = time.perf_counter()
    for number in range(records // len(batch)):
        producer.produce_batch(topic, batch, partition=number % PARTITIONS)
        producer.poll(0)
    left = producer.flush(120)
    if left:
        raise RuntimeError(f"{left} records were not acknowledged within 120 s")
    return topic, records / (time.perf_counter() - started)


def consume_rate(bootstrap: str, topic: str, *, records: int) -> float:
    """Records per second from the earliest offset, read_committed."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"bench-{uuid.uuid4()}",
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic])
    seen = len(consumer.consume(1, timeout=30))  # the join of the group is not the work measured
    started = time.perf_counter()
    while seen < records:
        messages = consumer.consume(10_000, timeout=5)
        if not messages:
            raise RuntimeError(f"only {seen} of {records} records arrived")
        seen += len(messages)
    elapsed = time.perf_counter() - started
    consumer.close()
    return (records - 1) / elapsed


def transactions(bootstrap: str, *, count: int) -> list[float]:
    """The duration in milliseconds of each of ``count`` transactions of one record, back to back."""
    topic = make_topic(bootstrap)
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": f"bench-{uuid.uuid4()}",
            "linger.ms": 0,
            "retry.backoff.ms": 5,
        }
    )
    producer.init_transactions(30)
    durations = []
    for number in range(count + 20):
        started = time.perf_counter()
        producer.begin_transaction()
        producer.produce(topic, b"x" * 100, partition=number % PARTITIONS)
        producer.commit_transaction(30)
        durations.append((time.perf_counter() - started) * 1000)
    return durations[20:]


def measure(bootstrap: str, *, records: int, count: int) -> Iterator[tuple[str, float]]:
    topic, rate = produce_rate(bootstrap, records=records, size_bytes=100)
    yield "produce, 100 B, records/s", rate
    yield "consume from the start, 100 B, read_committed, records/s", consume_rate(bootstrap, topic, records=records)
    yield "produce, 1 KiB, records/s", produce_rate(bootstrap, records=records // 5, size_bytes=1024)[1]
    durations = transactions(bootstrap, count=count)
    yield "1-record transactions, per second", 1000 * len(durations) / sum(durations)
    yield "1-record transactions, 99th percentile, ms", statistics.quantiles(durations, n=100)[98]


def start_time(make: Callable[[], EmbeddedBroker | ApacheKafka], stack: ExitStack) -> tuple[Broker, float]:
    started = time.perf_counter()
    broker = stack.enter_context(make())
    return broker, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each measure runs on each broker (5)")
    parser.add_argument("--records", type=int, default=1_000_000, help="100 B records for the produce rate (1,000,000)")
    parser.add_argument("--transactions", type=int, default=500, help="transactions for the commit rate (500)")
    options = parser.parse_args()
    figures: dict[tuple[str, str], list[float]] = {}
    with ExitStack() as stack:
        brokers: dict[str, Broker] = {}
        for name, make in (("tallystick", EmbeddedBroker), ("apache", ApacheKafka)):
            brokers[name], seconds = start_time(make, stack)
            figures["ready after start, empty, s", name] = [seconds]
        for number in track(range(options.rounds), description="rounds"):
            names = list(brokers) if number % 2 == 0 else list(brokers)[::-1]
            for name in names:
                work = measure(brokers[name].bootstrap, records=options.records, count=options.transactions)
                for what, figure in work:
                    figures.setdefault((what, name), []).append(figure)
    table = Table("measure", "Tallystick", "Apache Kafka 4.3.1", "ratio", title=f"medians of {options.rounds} rounds")
    for what in dict.fromkeys(what for what, _ in figures):
        ours, theirs = (statistics.median(figures[what, name]) for name in ("tallystick", "apache"))
        table.add_row(what, f"{ours:,.2f}", f"{theirs:,.2f}", f"{ours / theirs:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
