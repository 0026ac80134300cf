"""A workload under kills, from an empty topic to the oracle's verdict.

Owns: the run: feed, start, kill, look, restart, wait, stop, examine. Workers are real processes that die of a real
``SIGKILL``. Must not know: what the workload computes (``workloads``), what is wrong or right (``oracle``).
"""

from __future__ import annotations

import json
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from confluent_kafka.admin import AdminClient, NewTopic

from tallystick.errors import ConfigurationError, TallystickError
from tallystick.ids import EventId
from tallystick.pipeline import Guarantee
from tallystick.verify import workloads
from tallystick.verify.kill_report import KillRunReport, WorkerTotals
from tallystick.verify.kills import Evidence, Kill, Target
from tallystick.verify.oracle import History, Position, Seen, identity_from_payload, judge, read_view
from tallystick.verify.ticks import Tick, make_ticks, send_ticks
from tallystick.verify.watch import GroupWatch
from tallystick.verify.worker import WorkerPlace
from tallystick.verify.worker_process import WorkerFailed, WorkerProcess
from tallystick.verify.workloads import Shape, WorkloadSettings

if TYPE_CHECKING:
    from tallystick.verify.sql_count import SqlSide

UNPLANNED_EXITS_MAX: Final = 5
_LOOK_EVERY_S: Final = 0.1
_ADMIN_TIMEOUT_S: Final = 30.0

Progress = Callable[[int, int], None]
"""Called with consumed and total input records."""

OnKill = Callable[[Evidence], None]
"""Called after each kill, before the restart."""


class RunUnfinished(TallystickError):
    """The input was not consumed in time: no verdict."""


class KillableBroker(Protocol):
    """What ``EmbeddedBroker`` offers for kills; ``restart`` keeps port and data."""

    def kill(self) -> None: ...

    def restart(self) -> object: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KillRun:
    """What to run. ``folder`` takes logs, statistics and the report; ``broker`` is needed for kills of the broker."""

    bootstrap: str
    settings: WorkloadSettings
    folder: Path
    events: int = 1_000
    accounts: int = 16
    seed: int = 1
    workers: int = 1
    batch_records: int = 50
    kills: tuple[Kill, ...] = ()
    timeout_s: float = 120.0
    broker: KillableBroker | None = None
    progress: Progress | None = None
    on_kill: OnKill | None = None

    def __post_init__(self) -> None:
        for kill in self.kills:
            if kill.slot >= self.workers:
                raise ConfigurationError(f"{kill.name}: there are only {self.workers} workers")
            if kill.target is Target.BROKER and self.broker is None:
                raise ConfigurationError("a kill of the broker needs a broker that can be killed")

    def run(self) -> KillRunReport:
        """Do it all. Raises ``RunUnfinished``, ``WorkerFailed``; a wrong result is in the report, not raised."""
        return _Running(self).run()


def create_topics(bootstrap: str, settings: WorkloadSettings) -> None:
    """Source and sinks, new. Raises ``KafkaException`` if one is there already: a run needs an empty topic."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 3})
    topics = [NewTopic(name, settings.partitions, 1) for name in (settings.source, *settings.sinks)]
    for future in admin.create_topics(topics, operation_timeout=_ADMIN_TIMEOUT_S).values():
        future.result(_ADMIN_TIMEOUT_S)


@dataclass(slots=True)
class _Running:
    """The mutable side of one run; lives as long as ``KillRun.run``."""

    plan: KillRun
    workers: list[WorkerProcess] = field(default_factory=list)
    armed: dict[str, Kill] = field(default_factory=dict)
    at_point: dict[str, deque[Kill]] = field(default_factory=dict)
    evidence: list[Evidence] = field(default_factory=list)
    unplanned: list[str] = field(default_factory=list)
    sql: SqlSide | None = None

    @property
    def settings(self) -> WorkloadSettings:
        return self.plan.settings

    @property
    def kill_log(self) -> Path:
        return self.plan.folder / "kills.jsonl"

    def run(self) -> KillRunReport:
        started = time.monotonic()
        plan, settings = self.plan, self.settings
        plan.folder.mkdir(parents=True, exist_ok=True)
        ticks = make_ticks(seed=plan.seed, count=plan.events, accounts=plan.accounts)
        create_topics(plan.bootstrap, settings)
        self.sql = _sql_side(settings)
        if self.sql is not None:
            self.sql.prepare(sorted({tick.account for tick in ticks}))
        with GroupWatch(plan.bootstrap, settings.group, [settings.source], settings.sinks) as watch:
            try:
                self._start_workers()
                self._await_members(watch)
                positions = send_ticks(plan.bootstrap, settings.source, ticks)
                self._consume(watch, positions)
                self._stop_workers()
            finally:
                for worker in self.workers:
                    worker.kill()
            report = self._report(watch, ticks, positions, started)
        if self.sql is not None:
            self.sql.close()
        (plan.folder / "report.json").write_text(json.dumps(report.to_json(), indent=2) + "\n")
        return report

    # -- workers

    def _start_workers(self) -> None:
        plan = self.plan
        for number in range(plan.workers):
            place = WorkerPlace(
                bootstrap=plan.bootstrap,
                slot=f"slot-{number}",
                batch_records=plan.batch_records,
                stats_dir=str(plan.folder / "stats"),
            )
            worker = WorkerProcess(self.settings, place, folder=plan.folder, kill_log=self.kill_log)
            self.workers.append(worker)
            self.at_point[worker.slot] = deque(
                kill for kill in plan.kills if kill.target is Target.WORKER_AT_POINT and kill.slot == number
            )
            self._start(worker)

    def _start(self, worker: WorkerProcess) -> None:
        """The next incarnation, with the slot's next kill point armed."""
        waiting = self.at_point[worker.slot]
        if waiting:
            kill = self.armed[worker.slot] = waiting.popleft()
            worker.start(kill_at=f"{kill.point}:{kill.visit}")
        else:
            worker.start()

    def _await_members(self, watch: GroupWatch) -> None:
        """No input before every worker has its share: else the first one does the work, and kills of others miss."""
        deadline = time.monotonic() + self.plan.timeout_s
        while watch.members() < self.plan.workers:
            for worker in self.workers:
                if worker.exit_code is not None:
                    raise WorkerFailed(f"{worker.slot} ended with {worker.exit_code} at once: {worker.log_tail()}")
            if time.monotonic() > deadline:
                raise RunUnfinished(f"only {watch.members()} of {self.plan.workers} workers joined the group in time")
            time.sleep(_LOOK_EVERY_S)

    def _stop_workers(self) -> None:
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            code = worker.wait_end()
            if code != 0 and worker.slot not in self.armed:
                self.unplanned.append(f"{worker.slot} ended with {code} when told to stop: {worker.log_tail()}")

    # -- the time between the first record and the last

    def _consume(self, watch: GroupWatch, positions: dict[EventId, Position]) -> None:
        deadline = time.monotonic() + self.plan.timeout_s
        from_outside = deque(kill for kill in self.plan.kills if kill.target is not Target.WORKER_AT_POINT)
        total = watch.remaining()
        while True:
            for worker in self.workers:
                if worker.exit_code is not None:
                    self._ended(worker, watch, positions)
            remaining = watch.remaining()
            if self.plan.progress is not None:
                self.plan.progress(total - remaining, total)
            if from_outside and remaining <= from_outside[0].at_remaining:
                self._kill_from_outside(from_outside.popleft(), watch, positions)
                continue
            if remaining == 0 and all(worker.exit_code is None for worker in self.workers):
                return
            if time.monotonic() > deadline:
                tails = "\n".join(f"{worker.slot}: {worker.log_tail()}" for worker in self.workers)
                raise RunUnfinished(f"{remaining} of {total} records are not consumed in time\n{tails}")
            time.sleep(_LOOK_EVERY_S)

    def _ended(self, worker: WorkerProcess, watch: GroupWatch, positions: dict[EventId, Position]) -> None:
        kill = self.armed.pop(worker.slot, None)
        if worker.exit_code == -signal.SIGKILL and kill is not None:
            self._look(kill, worker.pid, watch, positions)
        else:
            self.unplanned.append(f"{worker.slot} ended with {worker.exit_code}: {worker.log_tail()}")
            if len(self.unplanned) > UNPLANNED_EXITS_MAX:
                raise WorkerFailed("\n".join(self.unplanned))
            if kill is not None:
                self.at_point[worker.slot].appendleft(kill)
        self._start(worker)

    def _kill_from_outside(self, kill: Kill, watch: GroupWatch, positions: dict[EventId, Position]) -> None:
        if kill.target is Target.BROKER and self.plan.broker is not None:
            self.plan.broker.kill()
            self.plan.broker.restart()
            self._look(kill, None, watch, positions)
            return
        worker = self.workers[kill.slot]
        if worker.exit_code is not None:
            self._ended(worker, watch, positions)
        armed = self.armed.pop(worker.slot, None)
        if armed is not None:
            self.at_point[worker.slot].appendleft(armed)
        worker.kill()
        self._look(kill, worker.pid, watch, positions)
        self._start(worker)

    def _look(self, kill: Kill, pid: int | None, watch: GroupWatch, positions: dict[EventId, Position]) -> None:
        """Write down what is to be seen between the death and the restart."""
        transactional = self.settings.guarantee is Guarantee.EXACTLY_ONCE
        evidence = Evidence(
            kill=kill,
            logged=pid is not None and self._log_has(kill, pid),
            remaining=watch.remaining(),
            open_partitions=watch.open_partitions() if transactional else 0,
            offsets_pending=transactional and watch.offsets_pending(),
            ahead_rows=self._ahead_rows(watch, positions),
        )
        self.evidence.append(evidence)
        if self.plan.on_kill is not None:
            self.plan.on_kill(evidence)

    def _log_has(self, kill: Kill, pid: int) -> bool:
        """Whether the process that died wrote down that it died of this kill."""
        lines = self.kill_log.read_text().splitlines() if self.kill_log.exists() else []
        return any((entry["pid"], entry["kill_point"]) == (pid, kill.point) for entry in map(json.loads, lines))

    def _ahead_rows(self, watch: GroupWatch, positions: dict[EventId, Position]) -> int:
        if self.sql is None:
            return 0
        done = watch.consumed_offsets()
        counted = (positions[event] for event in self.sql.counted_events())
        return sum(at.offset >= done.get((at.topic, at.partition), 0) for at in counted)

    # -- the verdict

    def _report(
        self, watch: GroupWatch, ticks: tuple[Tick, ...], positions: dict[EventId, Position], started: float
    ) -> KillRunReport:
        plan, settings = self.plan, self.settings
        expected = workloads.expected_outputs(settings, ticks, positions)
        rows: list[Seen] = []
        if self.sql is not None:
            expected += self.sql.expected(ticks, positions)
            rows = self.sql.rows(ticks)
        identify = identity_from_payload(workloads.identity_field(settings.shape))
        views = [read_view(plan.bootstrap, sink, identify=identify) for sink in settings.sinks]
        return KillRunReport(
            settings=settings,
            seed=plan.seed,
            workers=plan.workers,
            planned=plan.kills,
            evidence=tuple(self.evidence),
            oracle=judge(
                History(
                    expected=tuple(expected),
                    views=tuple(views),
                    rows=tuple(rows),
                    next_offsets=watch.next_offsets(),
                    states=() if self.sql is None else self.sql.states(ticks),
                )
            ),
            inbox_replays=None if self.sql is None else self.sql.replays(),
            totals=WorkerTotals.read(plan.folder / "stats"),
            unplanned_exits=tuple(self.unplanned),
            elapsed_ms=int((time.monotonic() - started) * 1000),
        )


def _sql_side(settings: WorkloadSettings) -> SqlSide | None:
    """Imported only when a workload has one: it needs the ``sql`` extra."""
    if settings.shape is not Shape.SQL_COUNT:
        return None
    if settings.database_url is None:
        raise ConfigurationError(f"workload {settings.shape.value} needs a database")
    from tallystick.verify.sql_count import SqlSide

    return SqlSide(settings.database_url, settings.name)
