"""How long a broker takes to be ready again after ``kill -9``, by the bytes and the partitions that it keeps.

Each row is a fresh data folder: records are produced to it, the broker is killed (the last checkpoint is as old as it
happens to be), and started again. Printed: what the start itself took, how much of the log it read for that, the whole
time until the process answers (the interpreter's start is in it), and its memory before the kill and after the start.

``--apache`` adds Apache Kafka's time from start to ready for the first row. The machine is not restarted, so files are
in the page cache, for both.
"""

from __future__ import annotations

import argparse
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tallystick.broker import EmbeddedBroker
from tallystick.servers import ApacheKafka

MIB = 1024 * 1024


@dataclass(frozen=True)
class Load:
    """What is produced before the kill. ``linger_ms`` 0 with one record at a time makes a batch of each."""

    what: str
    mib: int
    partitions: int
    record_bytes: int = 1024
    batches_of_one: bool = False


LOADS = [
    Load("16 MiB", 16, 4),
    Load("160 MiB (10x)", 160, 4),
    Load("1.6 GiB (100x)", 1600, 4),
    Load("1 GiB", 1024, 4),
    Load("10 partitions, 1 MiB each", 10, 10),
    Load("100 partitions (10x)", 100, 100),
    Load("1,000 partitions (100x)", 1000, 1000),
    Load("a batch for each record, 10,000", 2, 4, record_bytes=100, batches_of_one=True),
    Load("100,000 (10x)", 17, 4, record_bytes=100, batches_of_one=True),
    Load("1,000,000 (100x)", 170, 4, record_bytes=100, batches_of_one=True),
]
_BATCH_OVERHEAD_BYTES = 70


def fill(bootstrap: str, load: Load) -> None:
    """Produce the load's bytes, spread evenly, and wait until all of it is acknowledged."""
    topic = f"bench-{uuid.uuid4()}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics([NewTopic(topic, load.partitions, 1)]).values():
        future.result(60)
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "linger.ms": 0 if load.batches_of_one else 20,
            "batch.num.messages": 1 if load.batches_of_one else 10_000,
            "queue.buffering.max.kbytes": 200_000,
            "queue.buffering.max.messages": 500_000,
        }
    )
    overhead = _BATCH_OVERHEAD_BYTES if load.batches_of_one else 0
    records = [{"value": b"x" * load.record_bytes}] * 100
    batches = load.mib * MIB // (load.record_bytes + overhead) // len(records)
    for number in range(batches):
        producer.produce_batch(topic, records, partition=number % load.partitions)
        producer.poll(0)
        while len(producer) > 100_000:
            producer.poll(0.05)
    left = producer.flush(300)
    if left:
        raise RuntimeError(f"{left} records were not acknowledged within 300 s")


def memory_mib(pid: int) -> float:
    """Resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def measure(load: Load, fsync: str) -> list[str]:
    with EmbeddedBroker(fsync=fsync) as broker:
        fill(broker.bootstrap, load)
        before = memory_mib(broker.pid)
        broker.kill()
        started = time.perf_counter()
        broker.start()
        ready_s = time.perf_counter() - started
        found = broker.recovery
        after = memory_mib(broker.pid)
    return [
        load.what,
        f"{found['took_ms'] / 1000:.2f}",
        f"{found['replayed_bytes'] / MIB:.0f}",
        f"{found['replayed_batches']:,}",
        f"{ready_s:.2f}",
        f"{before:.0f}",
        f"{after:.0f}",
    ]


def measure_apache(load: Load) -> float:
    with ApacheKafka() as broker:
        fill(broker.bootstrap, load)
        broker.kill()
        started = time.perf_counter()
        broker.restart()
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fsync", default="never", choices=["never", "interval", "commit"])
    parser.add_argument("--only", help="rows whose description contains this")
    parser.add_argument("--apache", action="store_true", help="Apache Kafka's time to ready after 1 GiB, too")
    options = parser.parse_args()
    columns = ("kept", "start, s", "read, MiB", "batches", "until ready, s", "MiB before", "MiB after")
    table = Table(*columns, title="after kill -9")
    for load in track([load for load in LOADS if options.only is None or options.only in load.what], "loads"):
        table.add_row(*measure(load, options.fsync))
    Console(width=110).print(table)
    if options.apache:
        print(f"Apache Kafka, 1 GiB: {measure_apache(LOADS[3]):.2f} s until ready")


if __name__ == "__main__":
    main()
