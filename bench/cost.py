"""What the runtime itself costs for each record, in processor time, without a broker.

``python -m bench.cost``. Messages as librdkafka hands them over go through a batch of 20,000 as in the pipeline, into
a producer that has nobody to send to; beside it the same by hand. Only the calling thread's processor time counts, so
that the figures hardly depend on what else the machine does. A producer lives through all rounds and is emptied between
them, so that its memory is used again, as that of one that sends. Printed: the medians in microseconds a record.
"""

from __future__ import annotations

import argparse
import gc
import logging
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import confluent_kafka
import msgspec
import structlog
from bench.loops.job import Event, RatedEvent, rated
from bench.speed import report

from tallystick.ids import EVENT_ID_HEADER, deterministic_id
from tallystick.pipeline import App, BatchContext, Context, Emit, Emits, Record, Topic, emit, emit_each
from tallystick.pipeline.batch import EventIds
from tallystick.pipeline.functions import RecordFunction
from tallystick.pipeline.kafka_client import Producer
from tallystick.pipeline.policy import DEAD_LETTER
from tallystick.pipeline.polled import Message
from tallystick.pipeline.ports import Processor
from tallystick.pipeline.work import BatchWork

RECORDS: Final = 20_000
_SERVE_S: Final = 0.05
_NOWHERE: Final = {
    "bootstrap.servers": "127.0.0.1:1",
    "queue.buffering.max.messages": 10_000_000,
    "queue.buffering.max.kbytes": 2_000_000,
    "linger.ms": 100_000,
    "log_level": 0,
}
SOURCE: Final = Topic("source", Event)
TARGET: Final = Topic("target", RatedEvent)


@dataclass(frozen=True, slots=True)
class Way:
    """``step`` takes a batch; ``client`` is what it produces with."""

    step: Callable[[Sequence[Message]], None]
    client: confluent_kafka.Producer


class Reachable(Producer):
    """One whose client the benchmark can empty."""

    @property
    def client(self) -> confluent_kafka.Producer:
        return self._producer


def messages(*, ids: str) -> list[Message]:
    """A poll: four partitions in runs of 500; ``ids`` are "none", "of a step" or "of a business"."""
    made: list[Any] = []
    encode = msgspec.json.Encoder().encode
    positions = EventIds("cluster", {"before": "topic"})
    for number in range(RECORDS):
        partition, offset = number // 500 % 4, number // 2000 * 500 + number % 500
        event = Event(f"user-{number:05}", number, "EUR", f"merchant-{number % 500}", 1_700_000_000_000)
        headers = None
        if ids == "of a step":
            headers = [(EVENT_ID_HEADER, positions.of_partition("before", partition).at(offset).encode())]
        elif ids == "of a business":
            headers = [(EVENT_ID_HEADER, deterministic_id("purchase", number).encode())]
        value, key = encode(event), event.user.encode()
        made.append(confluent_kafka.Message("source", partition, offset, key, value, headers=headers, timestamp=(1, 1)))
    return made


def by_hand(*, header: bool) -> Way:
    """The tuned loop's step, with ``produce_batch`` or with one header."""
    decode, encode = msgspec.json.Decoder(Event).decode, msgspec.json.Encoder().encode
    producer = confluent_kafka.Producer(_NOWHERE)

    def batch(polled: Sequence[Message]) -> None:
        producer.produce_batch(
            "target", [{"value": encode(rated(decode(one.value() or b""))), "key": one.key()} for one in polled]
        )

    def records(polled: Sequence[Message]) -> None:
        for one in polled:
            value = encode(rated(decode(one.value() or b"")))
            producer.produce("target", value, one.key(), headers=[(EVENT_ID_HEADER, b"x" * 36)])

    return Way(records if header else batch, producer)


def ours(factory: Callable[[], Processor]) -> Way:
    producer = Reachable(_NOWHERE)
    work = BatchWork(factory(), step="rate", policy=DEAD_LETTER, dead_letter_topic="dead")
    ids = EventIds("cluster", {"source": "topic"})

    def step(polled: Sequence[Message]) -> None:
        outputs, _dead = work.process(ids.batch(polled))
        producer.produce(outputs)

    return Way(step, producer.client)


def batch_function() -> Processor:
    app = App("bench")

    @app.batch(source=SOURCE)
    def rate(events: Sequence[Event], batch: BatchContext) -> Emits:
        return emit_each(TARGET, [rated(event) for event in events], keys=batch.keys)

    return app.steps[0].factory()


def generator() -> Processor:
    app = App("bench")

    @app.step(source=SOURCE)
    def rate(event: Event, context: Context) -> Iterator[Emit]:
        yield emit(TARGET, rated(event), key=context.key)

    return app.steps[0].factory()


def function() -> Processor:
    app = App("bench")

    @app.step(source=SOURCE)
    def rate(event: Event, context: Context) -> Emit:
        return emit(TARGET, rated(event), key=context.key)

    return app.steps[0].factory()


def record_function() -> Processor:
    decode = msgspec.json.Decoder(Event).decode

    def rate(record: Record) -> Emit:
        return emit(TARGET, rated(decode(record.value or b"")), key=record.key)

    return RecordFunction("rate", rate, DEAD_LETTER)


WAYS: Final[dict[str, Callable[[], Way]]] = {
    "by hand, produce_batch": partial(by_hand, header=False),
    "by hand, produce with one header": partial(by_hand, header=True),
    "batch function": lambda: ours(batch_function),
    "function that returns": lambda: ours(function),
    "function that yields": lambda: ours(generator),
    "ExactlyOnceLoop, handler": lambda: ours(record_function),
}


def measure(way: Way, polled: Sequence[Message]) -> float:
    """Microseconds a record, of this thread's processor time."""
    gc.collect()
    began = time.thread_time_ns()
    way.step(polled)
    took = (time.thread_time_ns() - began) / 1000 / len(polled)
    while len(way.client):
        way.client.purge()
        way.client.poll(_SERVE_S)
    return took


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="how often each way is measured (15)")
    options = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print(f"Microseconds a record, medians of {options.rounds} rounds. {report.machine()}\n")
    kinds = ("none", "of a step", "of a business")
    print("| event ids in the input | " + " | ".join(kinds) + " |\n| --- | --- | --- | --- |")
    polls = {kind: messages(ids=kind) for kind in kinds}
    figures: dict[tuple[str, str], list[float]] = {}
    ways = {title: make() for title, make in WAYS.items()}
    for number in range(options.rounds + 1):
        for title, way in ways.items():
            for kind, polled in polls.items():
                figure = measure(way, polled)
                if number:
                    figures.setdefault((title, kind), []).append(figure)
    for title in WAYS:
        row = " | ".join(f"{statistics.median(figures[title, kind]):.2f}" for kind in kinds)
        print(f"| {title} | {row} |", flush=True)


if __name__ == "__main__":
    main()
