"""The same work with Tallystick: a batch function, and a function for each record, by number of lanes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

from bench.loops.job import Event, Job, RatedEvent, rated

from tallystick.pipeline import (
    App,
    BatchContext,
    Context,
    Emit,
    Emits,
    ExactlyOnceLoop,
    Processor,
    Topic,
    WorkerConfig,
    calm_collector,
    emit,
    emit_each,
)
from tallystick.pipeline.loop import StepLoop
from tallystick.pipeline.worker import plans

_LOOK_S: Final = 0.01


def batches(job: Job, lanes: int) -> None:
    """A decorated batch function, typed, with event ids in headers."""
    source, target = Topic(job.source, Event), Topic(job.target, RatedEvent)
    app = App("bench")

    @app.batch(source=source)
    def rate(events: list[Event], batch: BatchContext) -> Emits:
        return emit_each(target, [rated(event) for event in events], keys=batch.keys)

    _run(job, lanes, app.steps[0].factory)


def records(job: Job, lanes: int) -> None:
    """A decorated function, which sees one event, typed, with event ids in headers."""
    source, target = Topic(job.source, Event), Topic(job.target, RatedEvent)
    app = App("bench")

    @app.step(source=source)
    def rate(event: Event, context: Context) -> Emit:
        return emit(target, rated(event), key=context.key)

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
    run_loop(job, loop, lanes)


def run_loop(job: Job, loop: ExactlyOnceLoop | StepLoop, lanes: int) -> None:
    """In a thread, as a worker does, until all is committed; raises what it raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            with calm_collector(job.batch_records * lanes):
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


def run_app(app: App, job: Job, lanes: int) -> None:
    """All of an application's first step, as a worker runs it."""
    config = WorkerConfig(
        bootstrap=job.bootstrap,
        slot="bench",
        batch_records=job.batch_records,
        lanes=lanes,
        consumer_config={"log_level": 3},
        producer_config={"queue.buffering.max.messages": 1_000_000, "log_level": 3, **job.producer_settings},
    )
    (plan,) = plans(app, config)
    run_loop(job, StepLoop(plan), lanes)
