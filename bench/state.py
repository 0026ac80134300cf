"""Keyed state beside a loop written by hand and beside others, and how long a restore takes.

``python -m bench.state``. The first work: 1,000,000 records in 4 partitions with 10,000 keys, in turn, are counted by
their key, exactly-once, in one process, with a changelog. Each round runs each program once, every round beginning with
another one; a round before warms up and is not counted. The second: a step whose state has 1,000,000 keys starts,
with and without a local copy; until its first commit.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench.loops import counting, programs
from bench.loops.contest import Contest, Entry
from bench.speed import command
from bench.speed.peers import PEERS, TITLES
from bench.speed.site import Site, client, flush
from confluent_kafka import Producer

from tallystick.pipeline import App, Context, Store, Topic, WorkerConfig
from tallystick.pipeline.loop import StepLoop
from tallystick.pipeline.worker import plans

_BATCH_RECORDS: Final = 20_000
_LOOK_S: Final = 0.005
_STREAMS: Final = "Kafka Streams, one thread"
_STREAMS_1S: Final = "Kafka Streams, commit.interval.ms=1000"
"""Fewer commits write fewer counts to the changelog; the default under exactly-once is 100 ms."""
_QUIX: Final = "Quix Streams"


def counting_contest(scale: float, classes: Path, quix: str | None) -> Contest:
    streams = programs.Java(classes)
    entries = [
        Entry("by hand, in memory only", counting.by_hand),
        Entry(_STREAMS, streams.count, begins_anew=True),
        Entry(_STREAMS_1S, partial(streams.count, commit_interval_ms=1000), begins_anew=True),
        *(Entry(f"Tallystick, {lanes} lanes", partial(counting.with_tallystick, lanes=lanes)) for lanes in (1, 4)),
    ]
    if quix:
        slow = partial(programs.quix, python=quix, work="count")
        entries.append(Entry(_QUIX, slow, share=0.25, begins_anew=True))
    return Contest("keyed count with a changelog", int(1_000_000 * scale), _BATCH_RECORDS, entries)


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
    parser = command.parser(__doc__, rounds=3)
    parser.add_argument("--peer", choices=list(PEERS), default="apache", help="the broker (apache)")
    parser.add_argument("--quix", metavar="PYTHON", help="an interpreter that has quixstreams")
    options = parser.parse_args(arguments)
    command.quiet()
    made_on = command.machine()
    peer, rows = PEERS[options.peer](), list[Mapping[str, Any]]()
    try:
        peer.start()
        site = Site(options.peer, peer)
        print(f"{TITLES[options.peer]}. Medians of {options.rounds} rounds. {made_on}\n")
        if options.only in {None, "count"}:
            with tempfile.TemporaryDirectory() as classes:
                contest = counting_contest(options.scale, Path(classes), programs.find_quix(options.quix))
                figures = contest.run(site, options.rounds)
            rows += contest.rows(figures)
            print(contest.table(figures, [_STREAMS, _STREAMS_1S, _QUIX]), end="\n\n", flush=True)
        if options.only in {None, "restore"}:
            print(restore(site, int(1_000_000 * options.scale)))
    finally:
        peer.close()
        command.write(options.json, made_on, rows)


if __name__ == "__main__":
    main()
