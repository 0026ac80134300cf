"""The same work with Tallystick: a processor for batches, and a function for each record, by number of lanes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec
from bench.loops.job import Event, Job, RatedEvent, rated

from tallystick.ids import derived_id
from tallystick.pipeline import App, Context, Emit, ExactlyOnceLoop, Output, Processor, Record, Topic, emit

_LOOK_S: Final = 0.01


class Batches:
    """Typed, with event ids: one output for each record."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._decode = msgspec.json.Decoder(Event).decode
        self._encode = msgspec.json.Encoder().encode

    def process(self, records: Sequence[Record]) -> Sequence[Sequence[Output]]:
        target, decode, encode = self._target, self._decode, self._encode
        return [
            (Output(target, one.key, encode(rated(decode(one.value or b""))), derived_id(one.event_id, "rate", 0)),)
            for one in records
        ]

    def close(self) -> None:
        """Nothing is held."""


def batches(job: Job, lanes: int) -> None:
    _run(job, lanes, lambda: Batches(job.target))


def records(job: Job, lanes: int) -> None:
    """A decorated function, which sees one event."""
    source, target = Topic(job.source, Event), Topic(job.target, RatedEvent)
    app = App("bench")

    @app.step(source=source)
    def rate(event: Event, context: Context) -> Iterator[Emit]:
        yield emit(target, rated(event), key=context.key)

    _run(job, lanes, app.steps[0].factory)


def _run(job: Job, lanes: int, factory: Callable[[], Processor]) -> None:
    producer: dict[str, Any] = {"transactional.id": job.name, "queue.buffering.max.messages": 1_000_000}
    loop = ExactlyOnceLoop(
        {"bootstrap.servers": job.bootstrap, "group.id": job.name, "group.instance.id": "bench", "log_level": 3},
        producer | job.producer_settings | {"log_level": 3},
        [job.source],
        factory=factory,
        batch_records=job.batch_records,
        lanes=lanes,
    )
    raised: list[BaseException] = []

    def run() -> None:
        try:
            loop.run()
        except BaseException as error:  # noqa: BLE001  # raised below
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    while not job.committed(loop.counters.records_in) and thread.is_alive():
        time.sleep(_LOOK_S)
    loop.stop()
    thread.join()
    if raised:
        raise raised[0]
