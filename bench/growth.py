"""What a MiB costs the embedded broker, when there are ten and a hundred times as many, and as many partitions.

``python -m bench.growth``. Each row is a fresh broker: records of 1 KiB are produced, and then read from the start by a
reader that looks at the batches' headers only. Printed for both: the time, and the broker's processor time for each
MiB, which stays the same if cost grows in a line. Starts after a kill are the same question in ``bench.recovery``.

Before each row as many bytes are written to a file with nothing else done, and what that costs is printed, too. A
virtual machine gets its memory from its host when a page is first touched: from then on a copy into the page cache
takes ten times as long, whoever writes.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass

from bench.speed.consume import Counter
from bench.speed.peers import Tallystick, processor_s
from bench.speed.report import machine
from bench.speed.site import Site, fill_plainly

_MIB = 1024 * 1024
_RECORD_BYTES = 1024
_RECORDS_IN_A_MIB = _MIB // _RECORD_BYTES


@dataclass(frozen=True, slots=True)
class Load:
    what: str
    mib: int
    partitions: int


LOADS = [
    Load("16 MiB, 4 partitions", 16, 4),
    Load("160 MiB (10x)", 160, 4),
    Load("1,600 MiB (100x)", 1600, 4),
    Load("10 partitions of 1 MiB", 10, 10),
    Load("100 partitions (10x)", 100, 100),
    Load("1,000 partitions (100x)", 1000, 1000),
]


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one kind of work on one load."""

    elapsed_s: float
    processor_s: float


def bare_write(mib: int) -> Cost:
    """Of as many bytes, a MiB at a time, into a file that is removed then."""
    chunk = os.urandom(_MIB)
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_stime
    with tempfile.TemporaryFile(buffering=0) as file:
        for _ in range(mib):
            file.write(chunk)
        used = resource.getrusage(resource.RUSAGE_SELF).ru_stime - before
        return Cost(time.perf_counter() - started, used)


def measure(load: Load) -> tuple[Cost, Cost, Cost]:
    """Of a bare write, of producing and of reading.

    The first of both on a broker, which imports what it needs, is not counted.
    """
    written = bare_write(load.mib)
    broker = Tallystick()
    broker.start()
    try:
        site = Site("tallystick", broker)
        work(site, Load("to warm up", 4, 4))
        return written, *work(site, load)
    finally:
        broker.close()


def work(site: Site, load: Load) -> tuple[Cost, Cost]:
    topic = site.make_topic(partitions=load.partitions)
    records = load.mib * _RECORDS_IN_A_MIB

    started, before = time.perf_counter(), processor_s(site.peer.pid)
    fill_plainly(site.bootstrap, topic, records=records, size_bytes=_RECORD_BYTES, partitions=load.partitions)
    produced = Cost(time.perf_counter() - started, processor_s(site.peer.pid) - before)

    counter = Counter(site.bootstrap, topic, partitions=load.partitions)
    started, before = time.perf_counter(), processor_s(site.peer.pid)
    while sum(counter.offsets.values()) < records:
        if not counter.fetch():
            raise RuntimeError(f"only {sum(counter.offsets.values())} of {records} records arrived")
    consumed = Cost(time.perf_counter() - started, processor_s(site.peer.pid) - before)
    counter.close()
    return produced, consumed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often each row is taken (3)")
    parser.add_argument("--only", help="rows whose description contains this")
    options = parser.parse_args()
    loads = [load for load in LOADS if options.only is None or options.only in load.what]
    print(f"Medians of {options.rounds} rounds, and processor time in ms a MiB. {machine()}\n")
    print(
        "| load | bare write, s | ms a MiB | produce, s | ms a MiB | fetch, s | ms a MiB |\n"
        "| --- | --- | --- | --- | --- | --- | --- |"
    )
    for load in loads:
        rounds = []
        for number in range(options.rounds):
            print(f"{load.what}, round {number + 1}", file=sys.stderr, flush=True)
            rounds.append(measure(load))
        cells = []
        for kind in zip(*rounds, strict=True):
            cells.append(f"{statistics.median(cost.elapsed_s for cost in kind):.2f}")
            cells.append(f"{statistics.median(cost.processor_s for cost in kind) * 1000 / load.mib:.2f}")
        print(f"| {load.what} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
