"""What the broker's memory is while and after a lot goes through it: VmRSS and VmHWM of its process.

One gibibyte is produced over so many partitions and then consumed from the start, by librdkafka in this process.
Printed after each step: resident memory now, and the most that it ever was (``VmHWM``). The page cache is not the
process's and is in neither.
"""

from __future__ import annotations

import argparse
import uuid
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tallystick.broker import EmbeddedBroker

MIB = 1024 * 1024


@dataclass(frozen=True)
class Load:
    """What goes through. ``batch_records`` 1 makes a batch of each record, the most work for each byte."""

    what: str
    mib: int
    partitions: int
    record_bytes: int = 1024
    batch_records: int = 10_000
    transactional: bool = False


LOADS = [
    Load("1 GiB, 1 KiB records", 1024, 4),
    Load("1 GiB, 100 B records", 1024, 4, record_bytes=100),
    Load("1 GiB, 1,000 partitions", 1024, 1000),
    Load("1 GiB, 900 KiB records", 1024, 4, record_bytes=900 * 1024),
    Load("300,000 batches of one record", 50, 4, record_bytes=100, batch_records=1),
    Load("20,000 transactions, half aborted", 20, 4, record_bytes=100, batch_records=1, transactional=True),
]


def memory_mib(pid: int) -> tuple[float, float]:
    """Resident memory of a process, and the most that it ever was."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return int(fields["VmRSS"].split()[0]) / 1024, int(fields["VmHWM"].split()[0]) / 1024


def fill(bootstrap: str, topic: str, load: Load) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, load.partitions, 1)])[topic].result(60)
    if load.transactional:
        transact(bootstrap, topic, load)
        return
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "linger.ms": 20,
            "batch.num.messages": load.batch_records,
            "queue.buffering.max.kbytes": 100_000,
            "queue.buffering.max.messages": 500_000,
        }
    )
    each = max(min(100, 64 * MIB // load.record_bytes // 100), 1)
    records = [{"value": b"x" * load.record_bytes}] * each
    total = load.mib * MIB // load.record_bytes if load.batch_records > 1 else 300_000
    for number in range(total // each):
        producer.produce_batch(topic, records, partition=number % load.partitions)
        producer.poll(0)
        while len(producer) * load.record_bytes > 64 * MIB:
            producer.poll(0.05)
    left = producer.flush(300)
    if left:
        raise RuntimeError(f"{left} records were not acknowledged within 300 s")


def transact(bootstrap: str, topic: str, load: Load) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": "memory", "linger.ms": 0})
    producer.init_transactions(30)
    for number in range(20_000):
        producer.begin_transaction()
        producer.produce(topic, b"x" * load.record_bytes, partition=number % load.partitions)
        (producer.abort_transaction if number % 2 else producer.commit_transaction)(30)


def drain(bootstrap: str, topic: str, load: Load) -> None:
    """Read every partition to its end, committed records only."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": str(uuid.uuid4()),
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "queued.max.messages.kbytes": 16_384,
            "fetch.message.max.bytes": MIB,
        }
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(load.partitions)])
    ended = 0
    while ended < load.partitions:
        for message in consumer.consume(10_000, 1.0):
            ended += message.error() is not None
    consumer.close()


def measure(load: Load, fsync: str) -> list[str]:
    topic = f"memory-{uuid.uuid4()}"
    with EmbeddedBroker(fsync=fsync) as broker:
        empty, _ = memory_mib(broker.pid)
        fill(broker.bootstrap, topic, load)
        filled, _ = memory_mib(broker.pid)
        drain(broker.bootstrap, topic, load)
        drained, most = memory_mib(broker.pid)
        broker.kill()
        broker.start()
        started, most_at_start = memory_mib(broker.pid)
    return [load.what, *(f"{value:.0f}" for value in (empty, filled, drained, most, started, most_at_start))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fsync", default="never", choices=["never", "interval", "commit"])
    parser.add_argument("--only", help="rows whose description contains this")
    options = parser.parse_args()
    columns = ("through it", "empty", "produced", "consumed", "most", "after kill -9", "most")
    table = Table(*columns, title="resident memory of the broker, MiB")
    for load in track([load for load in LOADS if options.only is None or options.only in load.what], "loads"):
        table.add_row(*measure(load, options.fsync))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
