"""A worker: one process that runs every step of an application, each in a thread of its own.

Owns: ``WorkerConfig`` and ``run_worker``. Must not know: how a transaction goes (``exactly_once``), who restarts
workers (``supervisor``).
"""

from __future__ import annotations

import contextvars
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, Final

import structlog

from tallystick.errors import ConfigurationError, FatalError
from tallystick.ids import TransactionalId
from tallystick.pipeline.app import App
from tallystick.pipeline.counters import StatsFile
from tallystick.pipeline.guarantee import Guarantee
from tallystick.pipeline.loop import StepLoop
from tallystick.pipeline.observation import StepView, View, ViewFile
from tallystick.pipeline.plan import LoopPlan, the_one
from tallystick.pipeline.settings import CONSUMER_PROTOCOL, GroupProtocol
from tallystick.pipeline.step import Step
from tallystick.stopping import StopFlag

log = structlog.get_logger(__name__)

Setting = str | int | float | bool

_DRAIN_TIMEOUT_S: Final = 60.0
_LOOK_S: Final = 0.02
_STATS_INTERVAL_S: Final = 0.2
_VIEW_INTERVAL_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """Where a worker runs.

    ``bootstrap`` is ``host:port[,host:port]``. ``slot`` is the worker's stable name: it is its
    ``group.instance.id`` and part of its transactional ids, and two live workers must never share one (rule 5).
    ``group`` replaces the application's name at the front of group ids, ``{group}.{step}``. A transaction takes at
    most ``batch_records`` records and waits at most ``commit_interval_ms`` for them. With ``latency_goal_ms``
    both adapt, below these limits, so that a record is committed in that time. ``lanes`` is how many transactions
    of a step run at the same time, over different partitions; any number may follow any other at the next start.
    ``consumer_config`` and
    ``producer_config`` are librdkafka's settings; one that contradicts the guarantee is refused. With
    ``GroupProtocol.CONSUMER`` (KIP-848) members are dynamic, and the slot is in the transactional ids only.
    ``stats_dir`` is a folder in which each incarnation of a worker appends its counters as JSON lines. ``state_dir``
    keeps local copies of keyed state between runs, in a folder for each group and slot; without it each start reads
    the whole changelogs. ``view_dir`` is a folder in which ``SLOT.view.json`` shows the worker as it is, for metrics
    and health; it is replaced each second.
    """

    bootstrap: str
    slot: str
    group: str | None = None
    batch_records: int = 500
    commit_interval_ms: int = 100
    latency_goal_ms: int | None = None
    lanes: int = 1
    group_protocol: GroupProtocol = GroupProtocol.CLASSIC
    consumer_config: Mapping[str, Setting] = field(default_factory=dict)
    producer_config: Mapping[str, Setting] = field(default_factory=dict)
    stats_dir: Path | None = None
    state_dir: Path | None = None
    view_dir: Path | None = None


def run_worker(app: App, config: WorkerConfig, *, stop: threading.Event | None = None) -> None:
    """Run all steps of ``app`` until SIGTERM, SIGINT or ``stop``; then finish the open batches and return.

    User code of a step runs in that step's thread only, one call at a time, unless the step has several lanes: then in
    the thread of each lane, one call at a time in each. Two steps run at the same time. One
    step that fails stops them all. Signals are taken if this is the main thread. Raises what stopped a step:
    ``FencedError`` (a newer worker owns the slot), ``FatalError``, ``ConfigurationError``, ``StoppedByPolicy``.
    """
    if not app.steps:
        raise ConfigurationError(f"application {app.name!r} has no steps")
    stopping = stop or StopFlag()
    shown = _Shown(app, config)
    threads = [_StepThread(StepLoop(plan, stop=stopping), config) for plan in plans(app, config)]
    with _Signals(stopping):
        for thread in threads:
            thread.start()
        while not stopping.is_set():  # never wait: a handler of this thread sets it, and the caller's may have a lock
            shown.show(threads)
            time.sleep(_LOOK_S)
        deadline = time.monotonic() + _DRAIN_TIMEOUT_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
    stuck = [thread.name for thread in threads if thread.is_alive()]
    for thread in threads:
        if thread.raised is not None:
            raise thread.raised
    if stuck:
        raise FatalError(f"steps {stuck} did not end within {_DRAIN_TIMEOUT_S:.0f} s of the signal")


def plans(app: App, config: WorkerConfig) -> list[LoopPlan]:
    """What each step's loop will do; refuses settings that contradict the guarantee."""
    return [_plan(app, step, config) for step in app.steps]


def _plan(app: App, step: Step, config: WorkerConfig) -> LoopPlan:
    group = f"{config.group or app.name}.{step.name}"
    identity = TransactionalId(application=app.name, group=group, slot=config.slot, lane=0)
    for fixed in ("group.id", "group.instance.id", "bootstrap.servers"):
        if fixed in config.consumer_config:
            raise ConfigurationError(f"consumer setting {fixed} follows from the worker's configuration", rule=5)
    for fixed in ("transactional.id", "bootstrap.servers"):
        if fixed in config.producer_config:
            raise ConfigurationError(f"producer setting {fixed} follows from the worker's configuration", rule=5)
    consumer: dict[str, Any] = {
        "bootstrap.servers": config.bootstrap,
        "group.id": group,
        "group.protocol": config.group_protocol.value,
        **config.consumer_config,
    }
    if consumer["group.protocol"] != CONSUMER_PROTOCOL:
        consumer["group.instance.id"] = config.slot
    producer: dict[str, Any] = {"bootstrap.servers": config.bootstrap, **config.producer_config}
    if app.guarantee is Guarantee.EXACTLY_ONCE:
        producer["transactional.id"] = str(identity)
    factory = step.factory if step.processor is None else the_one(step.processor, lanes=config.lanes)
    return LoopPlan(
        step=step.name,
        sources=step.sources,
        guarantee=app.guarantee,
        factory=factory,
        policy=step.on_error,
        dead_letter_topic=app.dead_letter_topic(step.name),
        consumer=consumer,
        producer=producer,
        lane_id=lambda lane: str(replace(identity, lane=lane)),
        lanes=config.lanes,
        batch_records=config.batch_records,
        commit_interval_ms=config.commit_interval_ms,
        latency_goal_ms=config.latency_goal_ms,
        topics=step.topics,
        state=None if step.state is None else replace(step.state, folder=config.state_dir),
    )


class _Shown:
    """Shows the worker each second, from the thread that waits for nothing: so a step that hangs is seen to hang."""

    def __init__(self, app: App, config: WorkerConfig) -> None:
        self._file = ViewFile(config.view_dir, config.slot) if config.view_dir else None
        self._slot = config.slot
        self._guarantee = app.guarantee.value
        self._started_at_ms = time.time_ns() // 1_000_000
        self._next = 0.0

    def show(self, threads: Sequence[_StepThread]) -> None:
        if self._file is None or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _VIEW_INTERVAL_S
        view = View(
            slot=self._slot,
            pid=os.getpid(),
            at_ms=time.time_ns() // 1_000_000,
            started_at_ms=self._started_at_ms,
            guarantee=self._guarantee,
            steps=tuple(thread.view() for thread in threads),
        )
        try:
            self._file.write(view)
        except OSError as error:  # a full disk must not stop the work; health says that the view is old
            log.warning("view not written", error=str(error))


class _StepThread(threading.Thread):
    """Runs one loop; keeps what it raised, and stops the others then."""

    def __init__(self, loop: StepLoop, config: WorkerConfig) -> None:
        super().__init__(name=f"step-{loop.step}", daemon=True)
        self._loop = loop
        self._slot = config.slot
        self._file = StatsFile(config.stats_dir / f"{config.slot}.jsonl") if config.stats_dir else None
        self._last: dict[str, Any] = {}
        self._next_write = 0.0
        self._context = contextvars.copy_context()  # so that its log lines name slot and pid
        self.raised: BaseException | None = None

    def view(self) -> StepView:
        return self._loop.view()

    def run(self) -> None:
        self._context.run(self._run)

    def _run(self) -> None:
        try:
            self._write("started")
            self._loop.run(self._on_turn)
            self._write("ended")
        except BaseException as error:  # noqa: BLE001  # the thread's edge: kept, and raised by run_worker
            self.raised = error
            what = f"{type(error).__name__}: {error}"
            log.error("step failed", step=self._loop.step, error=what)  # noqa: TRY400  # its raiser logs the trace
            self._write("failed", error=what)
        finally:
            self._loop.stop()
            if self._file is not None:
                self._file.close()

    def _on_turn(self) -> None:
        now = time.monotonic()
        if self._file is not None and now >= self._next_write:
            self._next_write = now + _STATS_INTERVAL_S
            snapshot = self._loop.counters.snapshot()
            if snapshot != self._last:
                self._last = snapshot
                self._write("running")

    def _write(self, event: str, **more: str) -> None:
        if self._file is None:
            return
        line = {"event": event, "at_ms": time.time_ns() // 1_000_000, "pid": os.getpid(), "slot": self._slot}
        self._file.append({**line, "step": self._loop.step, **more, **self._loop.counters.snapshot()})


class _Signals:
    """SIGTERM and SIGINT set an event, inside the ``with`` block, if this is the main thread."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._main = threading.current_thread() is threading.main_thread()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        if self._main:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._stop)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping.set()
