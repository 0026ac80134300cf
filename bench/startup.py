"""How soon a broker is there for a test, and how soon it answers its first client.

Rows: the broker as a child and in this process, empty. The first broker of a process imports its modules; the rows
"again" are those after it. "first answer" is the first request of a client that keeps one connection: create a topic,
produce to it, read it back, over Kafka's protocol and without a client's own pauses.

Ready after 1 GiB and ``kill -9``, and beside Apache Kafka: ``bench/recovery.py`` and ``bench/broker.py``.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

from confluent_kafka import Consumer, Producer, TopicPartition
from rich.console import Console
from rich.table import Table

from tallystick.broker import EmbeddedBroker, InProcessBroker, LocalBroker

_IN_A_NEW_PROCESS = """
import time
started = time.perf_counter()
from tallystick.broker import {kind}
broker = {kind}()
broker.start()
print(time.perf_counter() - started)
broker.stop()
"""


def timed_ms(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def in_a_new_process_ms(kind: str) -> float:
    """From the first import of Tallystick to a broker that listens."""
    command = [sys.executable, "-c", _IN_A_NEW_PROCESS.format(kind=kind)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) * 1000


def one_record(broker: LocalBroker) -> None:
    """Write one record and read it: plain clients, which wait for nothing but the broker."""
    producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 0})
    producer.produce("first", b"x", partition=0)
    if producer.flush(30):
        raise RuntimeError("the record was not acknowledged within 30 s")
    reader = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "bench", "fetch.wait.max.ms": 10})
    reader.assign([TopicPartition("first", 0, 0)])
    if reader.poll(30) is None:
        raise RuntimeError("the record was not read within 30 s")
    reader.close()


def rounds(kind: type[LocalBroker], count: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for _ in range(count):
        broker = kind(num_partitions=1)
        found.setdefault("ready", []).append(timed_ms(broker.start))
        found.setdefault("the first record, written and read", []).append(timed_ms(partial(one_record, broker)))
        found.setdefault("the second", []).append(timed_ms(partial(one_record, broker)))
        found.setdefault("stop", []).append(timed_ms(broker.stop))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    table = Table("what", "median, ms", "least, ms", title=f"{options.rounds} rounds")
    for kind in (EmbeddedBroker, InProcessBroker):
        fresh = [in_a_new_process_ms(kind.__name__) for _ in range(options.rounds)]
        measured = {"ready, with all imports": fresh} | rounds(kind, options.rounds)
        for what, values in measured.items():
            table.add_row(f"{kind.__name__}: {what}", f"{statistics.median(values):.0f}", f"{min(values):.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
