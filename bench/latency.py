"""How long a record takes from its input to where ``read_committed`` readers see its output.

``python -m bench.latency``. Events are written one by one, 1,000 a second, into 4 partitions; each carries the time
at which it was handed to the producer. An application, in a process of its own, reads each, adds a field and writes it,
exactly-once; a reader with ``isolation.level=read_committed`` takes the time at which it has the output. Each round
runs each application once, on topics of its own, every round beginning with another one; what comes in the first
seconds is not counted. Printed: the medians of the rounds' percentiles, in milliseconds.

Kafka Streams commits every 100 ms under exactly-once, its default. Tallystick's settings are those of the command in
docs/benchmarks.md: no more than ``--interval`` milliseconds are waited for further records.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
from bench.loops.job import Event, Job, RatedEvent
from bench.loops.programs import Java, running
from bench.loops.rating import quick, workers
from bench.speed import command
from bench.speed.peers import PEERS, TITLES
from bench.speed.site import PARTITIONS, Site, client
from confluent_kafka import Consumer, Producer, TopicPartition

_PERCENTILES: Final = (50, 99)
_ARRIVE_S: Final = 60

Running = Callable[[Site, str, str], Any]
"""Starts an application on a site, from a topic to a topic; a context manager."""


@dataclass(frozen=True, slots=True)
class Application:
    title: str
    peer: str
    run: Running


def applications(classes: Path, *, interval_ms: int, lanes: int) -> list[Application]:
    ours = partial(tallystick, interval_ms=interval_ms, lanes=lanes)
    return [
        Application("Tallystick", "apache", ours),
        Application("Kafka Streams, one thread", "apache", partial(streams, java=Java(classes))),
        Application("Tallystick", "tallystick", ours),
    ]


@contextmanager
def tallystick(site: Site, source: str, target: str, *, interval_ms: int, lanes: int) -> Iterator[None]:
    words = ["--commit-interval-ms", str(interval_ms), "--lanes", str(lanes), *quick()]
    with tempfile.TemporaryDirectory() as folder, workers(site.bootstrap, source, target, Path(folder), *words):
        yield


@contextmanager
def streams(site: Site, source: str, target: str, *, java: Java) -> Iterator[None]:
    job = Job(site.bootstrap, source, target, records=0, batch_records=1)
    with running(java.command("Rate", job, {})):
        yield


class Writer(threading.Thread):
    """So many events a second, each handed over when its time has come."""

    def __init__(self, site: Site, topic: str, rate: int) -> None:
        super().__init__(daemon=True)
        self._producer = Producer(client(site.bootstrap) | {"linger.ms": 0, "acks": "all", "enable.idempotence": True})
        self._topic = topic
        self._rate = rate
        self._stopped = threading.Event()

    def run(self) -> None:
        encode, number, began = msgspec.json.Encoder().encode, 0, time.perf_counter()
        while not self._stopped.is_set():
            late_s = time.perf_counter() - began - number / self._rate
            if late_s < 0:
                time.sleep(-late_s)
            event = Event(f"user-{number % 10_000:05}", number, "EUR", "merchant", time.time_ns() // 1000)
            self._producer.produce(self._topic, encode(event), event.user.encode(), number % PARTITIONS)
            self._producer.poll(0)
            number += 1

    def stop(self) -> None:
        self._stopped.set()
        self.join()
        self._producer.flush(10)


def latencies(site: Site, topic: str, *, after_s: float, for_s: float) -> list[float]:
    """Milliseconds of each output that is read in ``for_s``, from ``after_s`` after the first one."""
    settings = {"group.id": f"bench-{uuid.uuid4()}", "isolation.level": "read_committed", "enable.auto.commit": False}
    consumer = Consumer(client(site.bootstrap) | settings)
    consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
    decode, taken = msgspec.json.Decoder(RatedEvent).decode, list[float]()
    begins, deadline = None, time.monotonic() + _ARRIVE_S
    while begins is None or time.monotonic() < begins + for_s:
        message = consumer.poll(0.1)
        if message is None or message.error() is not None:
            if begins is None and time.monotonic() > deadline:
                raise RuntimeError(f"no output in {_ARRIVE_S} s")
            continue
        now_us = time.time_ns() // 1000
        begins = begins or time.monotonic() + after_s
        if time.monotonic() >= begins:
            taken.append((now_us - decode(message.value() or b"").at_ms) / 1000)
    consumer.close()
    return taken


def measure(application: Application, site: Site, *, rate: int, after_s: float, for_s: float) -> list[float]:
    """The percentiles of one run."""
    source, target = site.make_topic(), site.make_topic()
    with application.run(site, source, target):
        writer = Writer(site, source, rate)
        writer.start()
        try:
            taken = latencies(site, target, after_s=after_s, for_s=for_s)
        finally:
            writer.stop()
    if len(taken) < rate * for_s / 2:
        raise RuntimeError(f"{application.title}: {len(taken)} outputs in {for_s} s")
    cuts = statistics.quantiles(taken, n=100, method="inclusive")
    return [cuts[number - 1] for number in _PERCENTILES]


def table(found: Mapping[Application, Sequence[Sequence[float]]]) -> str:
    heads = ["application", "broker", *(f"{number}th percentile, ms" for number in _PERCENTILES)]
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for application, rounds in found.items():
        cells = [f"{statistics.median(values):.1f}" for values in zip(*rounds, strict=True)]
        lines.append(f"| {application.title} | {TITLES[application.peer]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = command.parser(__doc__, rounds=3)
    parser.add_argument("--rate", type=int, default=1_000, help="events a second (1,000)")
    parser.add_argument("--interval", type=int, default=2, help="Tallystick's --commit-interval-ms (2)")
    parser.add_argument("--lanes", type=int, default=1, help="of Tallystick (1)")
    options = parser.parse_args(arguments)
    command.quiet()
    made_on = command.machine()
    found: dict[Application, list[list[float]]] = {}
    with ExitStack() as closing:
        classes = Path(closing.enter_context(tempfile.TemporaryDirectory()))
        chosen = [
            one
            for one in applications(classes, interval_ms=options.interval, lanes=options.lanes)
            if options.only is None or options.only in f"{one.title} on {one.peer}"
        ]
        sites = {}
        for name in dict.fromkeys(one.peer for one in chosen):
            peer = PEERS[name]()
            closing.callback(peer.close)
            peer.start()
            sites[name] = Site(name, peer)
        for number in range(options.rounds):
            for one in command.in_turn(chosen, number):
                figures = measure(
                    one, sites[one.peer], rate=options.rate, after_s=10 * options.scale, for_s=20 * options.scale
                )
                found.setdefault(one, []).append(figures)
    print(f"{options.rate:,} events a second. Medians of {options.rounds} rounds. {made_on}\n")
    print(table({one: found[one] for one in chosen}))
    rows = [
        {"application": one.title, "peer": one.peer, "unit": f"ms, percentile {percentile}", "rounds": list(values)}
        for one in chosen
        for percentile, values in zip(_PERCENTILES, zip(*found[one], strict=True), strict=True)
    ]
    command.write(options.json, made_on, rows)


if __name__ == "__main__":
    main()
