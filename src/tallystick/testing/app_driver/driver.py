"""``AppTestDriver``: an application in a test, step by step.

Owns: feeding, running until idle, crashes, rebalances, time, and what can be looked at. Must not know: pytest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from tallystick.broker import InProcessBroker
from tallystick.errors import ConfigurationError
from tallystick.ids import EVENT_ID_HEADER, EventId
from tallystick.killpoints import arm_here, declared, disarm
from tallystick.pipeline import App, Record, Step, Store, Topic, WorkerConfig
from tallystick.pipeline.plan import LoopPlan
from tallystick.pipeline.state import changelog_topic
from tallystick.pipeline.worker import plans
from tallystick.testing.app_driver.clock import DriverClock
from tallystick.testing.app_driver.committed import Committed, committed_offsets
from tallystick.testing.app_driver.intruder import Intruder, assigned_since
from tallystick.testing.app_driver.loop_run import Crashed, Gate, LoopRun

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")

_LOOK_S: Final = 0.01
_START_MS: Final = 1_700_000_000_000
_SETTINGS: Final = {
    "group.initial.rebalance.delay.ms": "0",
    # The clock of a test stands at any time, and librdkafka stamps what has no time with the machine's.
    "log.message.timestamp.after.max.ms": str(2**63 - 1),
}
_QUICK: Final[Mapping[str, Any]] = {"fetch.wait.max.ms": 10, "heartbeat.interval.ms": 200}


class NotIdle(AssertionError):
    """The application did not become idle in time; the message says which step stands where."""


class AppTestDriver:
    """Runs an application in a test: ``with AppTestDriver(app) as driver``.

    The broker is real and runs in this process; so are transactions, fencing and rebalances. The application's steps
    run in threads of this process, and only inside ``run``: between two calls they stand still, with no batch in hand.

    ``workers`` is how many members each step's group has. ``partitions`` is for topics that do not say how many they
    have. ``batch_records`` and ``lanes`` are a worker's. ``start`` is the time at which the clock stands, in
    milliseconds since the epoch. ``state_dir`` lets steps keep local copies of their state over crashes; without it
    each start reads the changelogs. ``timeout`` bounds each ``run``, in real time.
    """

    def __init__(
        self,
        app: App,
        *,
        workers: int = 1,
        partitions: int = 1,
        batch_records: int = 500,
        lanes: int = 1,
        start: int = _START_MS,
        state_dir: Path | None = None,
        timeout: timedelta = timedelta(seconds=60),
    ) -> None:
        if workers < 1:
            raise ConfigurationError(f"workers={workers}: at least one")
        self._app = app
        self._workers = workers
        self._batch_records = batch_records
        self._lanes = lanes
        self._state_dir = state_dir
        self._timeout_s = timeout.total_seconds()
        self.clock = DriverClock(start_ms=start)
        self.broker = InProcessBroker(num_partitions=partitions, settings=_SETTINGS)
        self.broker.clock = self.clock
        self.crashes: list[str] = []
        """Kill points at which the application died, in order."""
        self._gate = Gate()
        self._runs: list[LoopRun] = []
        self._armed: set[str] = set()
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            opening.enter_context(self.broker)
            self._committed = Committed(self.broker.bootstrap)
            opening.callback(self._committed.close)
            self._producer = Producer({"bootstrap.servers": self.broker.bootstrap, "enable.idempotence": True})
            opening.callback(self._end)
            self._create_topics()
            self._closing = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        armed = sorted(self._armed)
        self._closing.close()
        if armed and error is None:
            raise AssertionError(f"the application never came to {', '.join(armed)}, where it was to crash")

    # -- what goes in

    def feed(
        self,
        topic: Topic[T] | str,
        value: T | bytes | None,
        *,
        key: str | bytes | None = None,
        partition: int | None = None,
        at_ms: int | None = None,
        event_id: EventId | None = None,
        headers: Mapping[str, bytes] | None = None,
    ) -> None:
        """Write one record, as a producer outside the application would.

        A topic given by its name takes bytes as they are, also such as the application cannot read. ``at_ms`` is the
        record's time, by default the clock's.
        """
        name = topic if isinstance(topic, str) else topic.name
        raw: Any = value if isinstance(topic, str) or value is None else topic.encode(cast("T", value))
        sent: dict[str, Any] = {**(headers or {})}
        if event_id is not None:
            sent[EVENT_ID_HEADER] = event_id.encode()
        more: dict[str, Any] = {} if partition is None else {"partition": partition}
        time_ms = self.clock.now_ms() if at_ms is None else at_ms
        self._producer.produce(name, raw, key, headers=sent, timestamp=time_ms, **more)
        if self._producer.flush(30):
            raise TimeoutError(f"the broker did not take a record of {name} in 30 s")

    def advance(self, by: timedelta) -> None:
        """Wall-clock time goes on by so much: of records that are fed, of the application, of the broker."""
        self.clock.advance(by)

    def expire_sessions(self, by: timedelta = timedelta(minutes=1)) -> None:
        """Monotonic time jumps: the broker takes silent members out of their groups."""
        self.clock.advance_monotonic(by)

    # -- what happens

    def run(self) -> None:
        """Let the application work until everything that is there has been processed and committed.

        A crash that was asked for happens, and the worker starts again. What stops a step otherwise is raised here.
        """
        deadline = time.monotonic() + self._timeout_s
        self._start_missing()
        self._gate.open()
        try:
            while True:
                self._bury()
                if self._is_idle() and self._pause(deadline) and self._is_idle():
                    return
                if time.monotonic() > deadline:
                    raise NotIdle(f"not idle after {self._timeout_s:.0f} s: {self._standing()}")
                self._gate.open()
                time.sleep(_LOOK_S)
        finally:
            self._gate.close()

    def crash_at(self, kill_point: str, *, count: int = 1) -> None:
        """A worker that comes to the place, for the ``count``-th time from now on, loses all that it has in memory.

        ``tallystick.killpoints.declared()`` has the places: those of the cycle, of keyed state, of SQL effects. It is
        not a kill: ``finally`` blocks of the application run. Kill real processes with ``TALLYSTICK_KILL_AT``.
        """
        if kill_point not in declared():
            raise ConfigurationError(
                f"{kill_point!r} is no kill point", remedy=f"One of {', '.join(sorted(declared()))}"
            )
        self._armed.add(kill_point)
        arm_here(kill_point, count, self._die)

    def rebalance(self) -> None:
        """Each group gets another member for a moment: partitions move away and come back, while the steps work."""
        self._start_missing()
        self._gate.open()
        try:
            for step in self._app.steps:
                self._intrude(step)
        finally:
            self._gate.close()

    def restart(self, app: App | None = None) -> None:
        """End all workers well and start them again at the next ``run``, with other code if ``app`` is given."""
        self._end()
        if app is not None:
            self._app = app
            self._create_topics()

    # -- what can be seen

    def read(self, topic: Topic[T]) -> list[T]:
        """The committed values of a topic: by time stamp, in order within each partition."""
        return [topic.decode(record.value) for record in self.records(topic)]

    def records(self, topic: Topic[Any] | str) -> list[Record]:
        """The committed records of a topic, with keys, headers and event ids."""
        name = topic if isinstance(topic, str) else topic.name
        self._committed.catch_up([name])
        return self._committed.records(name)

    def dead_letters(self, step: str) -> list[Record]:
        """The records that a step has given up, as they are in its dead-letter topic."""
        return self.records(self._app.dead_letter_topic(step))

    def state(self, step: str, store: Store[K, V]) -> dict[K, V]:
        """What a step's store holds, as its changelog says: committed state of all partitions."""
        held: dict[K, V] = {}
        for record in self.records(changelog_topic(self._group(step), store.name)):
            key = store.decode_key(record.key or b"")
            if record.value is None:
                held.pop(key, None)
            else:
                held[key] = store.decode(record.value)
        return held

    # -- workers

    def _group(self, step: str) -> str:
        return f"{self._app.name}.{step}"

    def _create_topics(self) -> None:
        there = AdminClient({"bootstrap.servers": self.broker.bootstrap}).list_topics(timeout=10).topics
        wanted = {name: count for step in self._app.steps for name, count in step.topics.items()}
        for name, count in wanted.items():
            if name not in there:
                self.broker.create_topic(name, partitions=count)

    def _plans(self, slot: str) -> list[LoopPlan]:
        config = WorkerConfig(
            bootstrap=self.broker.bootstrap,
            slot=slot,
            batch_records=self._batch_records,
            commit_interval_ms=5,
            lanes=self._lanes,
            consumer_config=_QUICK,
            state_dir=self._state_dir,
        )
        return plans(self._app, config)

    def _start_missing(self) -> None:
        running = {(run.slot, run.step) for run in self._runs}
        for number in range(self._workers):
            slot = f"worker-{number}"
            if all((slot, step.name) in running for step in self._app.steps):
                continue
            for plan in self._plans(slot):
                if (slot, plan.step) not in running:
                    self._runs.append(LoopRun(plan, gate=self._gate, clock=self.clock, slot=slot))

    def _bury(self) -> None:
        """Take away what has ended. A worker is one process: when a step crashes, its other steps go with it."""
        crashed = {run.slot for run in self._runs if run.has_ended and isinstance(run.raised, Crashed)}
        for run in [run for run in self._runs if run.has_ended and run.slot not in crashed]:
            self._runs.remove(run)
            raise run.raised or NotIdle(f"{run.name} ended by itself")
        for run in [run for run in self._runs if run.slot in crashed]:
            run.stop()
            self._runs.remove(run)
        if crashed:
            self._start_missing()

    def _die(self, kill_point: str) -> None:
        self.crashes.append(kill_point)
        self._armed.discard(kill_point)
        raise Crashed(kill_point)

    def _pause(self, deadline: float) -> bool:
        """Whether all loops stand at the gate, with no batch in hand; False if one of them ended meanwhile."""
        self._gate.close()
        while not all(run.is_waiting for run in self._runs):
            if any(run.has_ended for run in self._runs):
                return False
            if time.monotonic() > deadline:
                raise NotIdle(f"still at work after {self._timeout_s:.0f} s: {self._standing()}")
            time.sleep(_LOOK_S)
        return True

    def _is_idle(self) -> bool:
        """Whether each group has committed all that is in its sources.

        Offsets are read before ends: a step that had work left when its offsets were read shows it, and what it writes
        later cannot be missed, because it was not idle then.
        """
        if any(run.counters.assignments == 0 for run in self._runs):
            return False
        committed = {step.name: self._offsets(step) for step in self._app.steps}
        self._committed.catch_up({name for step in self._app.steps for name in step.sources})
        return all(self._behind(step, committed[step.name]) == {} for step in self._app.steps)

    def _offsets(self, step: Step) -> dict[tuple[str, int], int]:
        places = [place for name in step.sources for place in self._committed.next_offsets(name)]
        return committed_offsets(self.broker.bootstrap, self._group(step.name), places) if places else {}

    def _behind(self, step: Step, committed: Mapping[tuple[str, int], int]) -> dict[str, tuple[int, int]]:
        """Partition to what is committed and what would have to be."""
        ends = {place: end for name in step.sources for place, end in self._committed.next_offsets(name).items()}
        return {
            f"{topic}-{number}": (committed.get((topic, number), 0), end)
            for (topic, number), end in ends.items()
            if committed.get((topic, number), 0) < end
        }

    def _standing(self) -> str:
        found = []
        for step in self._app.steps:
            behind = self._behind(step, self._offsets(step))
            aborts = [dict(run.counters.aborts) for run in self._runs if run.step == step.name]
            found.append(f"step {step.name!r}: committed and needed offsets {behind}, aborts {aborts}")
        return "; ".join(found)

    def _intrude(self, step: Step) -> None:
        mine = [run for run in self._runs if run.step == step.name]
        deadline = time.monotonic() + self._timeout_s
        self._wait(deadline, f"members of step {step.name!r}", assigned_since(mine, dict.fromkeys(mine, 0)))
        before = {run: run.counters.assignments for run in mine}
        with Intruder(self.broker.bootstrap, self._group(step.name), step.sources) as intruder:
            self._wait(deadline, f"a rebalance of step {step.name!r}", intruder.is_in)
        twice = {run: count + 1 for run, count in before.items()}  # when it came, and when it went
        self._wait(deadline, f"the partitions of step {step.name!r}", assigned_since(mine, twice))

    def _wait(self, deadline: float, what: str, holds: Callable[[], bool]) -> None:
        while not holds():
            self._bury()
            if time.monotonic() > deadline:
                raise NotIdle(f"no {what} in {self._timeout_s:.0f} s")
            time.sleep(_LOOK_S)

    def _end(self) -> None:
        for armed in self._armed:
            disarm(armed)
        self._armed.clear()
        runs, self._runs = self._runs, []
        for run in runs:
            run.stop()
