"""Keyed state beside a loop written by hand and beside Kafka Streams, and how long a restore takes.

``python -m bench.state``. The first work: 1,000,000 records in 4 partitions with 10,000 keys, in turn, are counted by
their key, exactly-once, in one process, with a changelog. Each round runs each program once, every round beginning with
another one; the first round warms up and is not counted. The second: a step whose state has 1,000,000 keys starts,
with and without a local copy; until its first commit.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import structlog
from bench.loops import counting
from bench.loops.job import Job, fill
from bench.speed import report
from bench.speed.peers import PEERS, TITLES
from bench.speed.site import Site, client, flush
from confluent_kafka import Producer
from tests.support.java import jvm
from tests.support.toolchains import javac

from tallystick.pipeline import App, Context, Store, Topic, WorkerConfig
from tallystick.pipeline.loop import StepLoop
from tallystick.pipeline.worker import plans

_JAVA: Final = Path(__file__).parent / "loops" / "java"
_BATCH_RECORDS: Final = 20_000
_LOOK_S: Final = 0.005

Program = Callable[[Job], None]


def programs(classes: Path) -> Mapping[str, Program]:
    command = [*jvm(javac.compile_into(_JAVA, classes)), "KeyedCount"]
    return {
        "by hand, in memory only": counting.by_hand,
        "Kafka Streams, one thread": partial(counting.with_kafka_streams, command=command),
        "Tallystick, 1 lane": partial(counting.with_tallystick, lanes=1),
        "Tallystick, 4 lanes": partial(counting.with_tallystick, lanes=4),
    }


def count(site: Site, running: Mapping[str, Program], records: int, rounds: int) -> str:
    """A table of medians."""
    source = fill(site, records)
    figures: dict[str, list[float]] = {name: [] for name in running}
    names = list(running)
    for number in range(rounds + 1):
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            with site.topic() as target:
                job = Job(site.bootstrap, source, target, records, _BATCH_RECORDS)
                running[name](job)
            if number > 0:
                figures[name].append(job.records_per_s)
    medians = {name: statistics.median(values) for name, values in figures.items()}
    base = next(iter(medians.values()))
    lines = ["| keyed count with a changelog | records/s | ratio |", "| --- | --- | --- |"]
    lines += [f"| {name} | {value:,.0f} | {value / base:.2f} |" for name, value in medians.items()]
    return "\n".join(lines)


def restore(site: Site, keys: int) -> str:
    """A table of the two starts of a step with so many keys."""
    source, store = site.make_topic(), Store("values", key=str, value=str)
    app = App(source)

    @app.step(source=Topic(source, bytes), state=[store])
    def keep(value: bytes, context: Context) -> None:
        context.state(store)[value.decode()] = f"the value of {value!r}"

    with tempfile.TemporaryDirectory() as folder:
        config = WorkerConfig(
            bootstrap=site.bootstrap, slot="bench", state_dir=Path(folder), batch_records=_BATCH_RECORDS
        )
        _feed(site, source, keys)
        built = _until_first_commit(app, config, keys)
        _feed(site, source, 1)
        kept = _until_first_commit(app, config, 1)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        shutil.rmtree(folder)
        _feed(site, source, 1)
        read = _until_first_commit(app, config, 1)
    return "\n".join(
        [
            f"| {keys:,} keys | from the start to the first commit | processor time |",
            "| --- | --- | --- |",
            f"| with a local copy ({size / 2**20:,.0f} MiB) | {kept[0]:.2f} s | {kept[1]:.2f} s |",
            f"| from the changelog | {read[0]:.2f} s | {read[1]:.2f} s |",
            f"| (to write them, with their changes of state | {built[0]:.2f} s | {built[1]:.2f} s) |",
        ]
    )


def _feed(site: Site, topic: str, count_: int) -> None:
    producer = Producer(client(site.bootstrap) | {"enable.idempotence": True, "linger.ms": 5})
    for number in range(count_):
        while True:
            try:
                producer.produce(topic, b"key-%09d" % number, b"key-%09d" % number)
            except BufferError:
                producer.poll(0.05)
            else:
                break
    flush(producer)


def _until_first_commit(app: App, config: WorkerConfig, records: int) -> tuple[float, float]:
    """Seconds, and seconds of this process on a processor."""
    (plan,) = plans(app, config)
    loop = StepLoop(plan)
    thread = threading.Thread(target=loop.run, daemon=True)
    began, worked = time.perf_counter(), time.process_time()
    thread.start()
    while loop.counters.records_in < records and thread.is_alive():
        time.sleep(_LOOK_S)
    took = time.perf_counter() - began, time.process_time() - worked
    if not thread.is_alive():
        raise RuntimeError("the step ended")
    loop.stop()
    thread.join()
    return took


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often each program runs (3)")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of records and keys (1)")
    parser.add_argument("--only", choices=["count", "restore"], help="one of the two works")
    parser.add_argument("--peer", choices=list(PEERS), default="apache", help="the broker (apache)")
    options = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    peer = PEERS[options.peer]()
    try:
        peer.start()
        site = Site(options.peer, peer)
        print(f"{TITLES[options.peer]}. {report.machine()}\n")
        if options.only in {None, "count"}:
            with tempfile.TemporaryDirectory() as classes:
                print(count(site, programs(Path(classes)), int(1_000_000 * options.scale), options.rounds), end="\n\n")
        if options.only in {None, "restore"}:
            print(restore(site, int(1_000_000 * options.scale)))
    finally:
        peer.close()


if __name__ == "__main__":
    main()
