"""The trial itself, from empty topics to the verdict.

Owns: the order of things: topics, workers, feed and watchers, faults, healing, the rest of the input, the last look.
Must not know: what a fault does, what is right or wrong.
"""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from tallystick.pipeline import Guarantee
from tallystick.verify import workloads
from tallystick.verify.faults.catalog import FAULTS
from tallystick.verify.faults.fault import World
from tallystick.verify.faults.injector import Injector
from tallystick.verify.faults.of_workers import places
from tallystick.verify.faults.specs import plan
from tallystick.verify.kill_run import RunUnfinished
from tallystick.verify.oracle import identity_from_payload
from tallystick.verify.ticks import account_name, endless_ticks
from tallystick.verify.timeline import Timeline
from tallystick.verify.trial.comparison import Comparison
from tallystick.verify.trial.crew import Crew, Crews
from tallystick.verify.trial.feed import Aborter, Feed
from tallystick.verify.trial.hanging import OFFSETS_TOPIC, hanging_transactions
from tallystick.verify.trial.outcome import Outcome, Violation
from tallystick.verify.trial.places import make_topics, members, remove_groups, remove_topics, worker_place, workload_of
from tallystick.verify.trial.settings import SESSION_TIMEOUT_MS, TrialSettings
from tallystick.verify.trial.sightings import Sightings
from tallystick.verify.trial.site import Site
from tallystick.verify.trial.skipped import log_size, skipped_markers
from tallystick.verify.trial.watchers import Auditor, GroupCrowd, LiveReader
from tallystick.verify.versions import versions
from tallystick.verify.watch import GroupWatch
from tallystick.verify.worker import WorkerPlace
from tallystick.verify.worker_process import WorkerProcess
from tallystick.verify.workloads import WorkloadSettings

if TYPE_CHECKING:
    from tallystick.verify.charging import ChargeSide
    from tallystick.verify.sql_count import SqlSide

_TURN_S: Final = 0.05
_DISPATCHERS: Final = 2
_JOIN_TIMEOUT_S: Final = 90.0
_HEALING_S: Final = 60.0
"""How long a fault that has begun may go on past the run's time: a zombie has to wake up, a place to be come to."""
_ACKNOWLEDGE_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a trial is."""

    phase: str
    elapsed_s: float
    sent: int
    remaining: int | None
    broken: tuple[str, ...]


Report = Callable[[Progress], None]
Export = Callable[[Outcome, Site, Sequence[str]], None]
"""Called with an outcome that has violations, and the names of its topics, before they are removed."""


@dataclass(slots=True)
class Trial:
    """``folder`` takes logs. ``run`` may be called once."""

    settings: TrialSettings
    site: Site
    folder: Path
    report: Report = lambda _: None
    export: Export = lambda *_: None
    timeline: Timeline = field(default_factory=Timeline)
    workload: WorkloadSettings = field(init=False)
    sql: SqlSide | ChargeSide | None = None
    _problems: list[Violation] = field(default_factory=list)
    _log_from: int = 0

    def __post_init__(self) -> None:
        name = f"{self.settings.prefix}-{self.settings.guarantee.value}-{uuid.uuid4().hex[:8]}"
        self.workload = workload_of(self.settings, name, self.site, folder=self.folder)

    def run(self) -> Outcome:
        """Raises ``KafkaException`` if the cluster cannot be used at all; what is wrong otherwise is in the outcome."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._log_from = log_size(self.site.broker_log)
        make_topics(self.site.reach(), self.workload)
        try:
            self.sql = self._side()
            if self.sql is not None:
                self.sql.prepare(account_name(number) for number in range(self.settings.accounts))
            outcome = self._run()
            if outcome.violations:
                self.export(outcome, self.site, (*self.workload.sources, *self.workload.sinks))
            return outcome
        finally:
            if self.sql is not None:
                if not self.settings.keep:
                    self.sql.forget()
                self.sql.close()
            if not self.settings.keep:
                remove_topics(self.site.reach(), self.workload)
                remove_groups(self.site.reach(), self.workload)

    def _side(self) -> SqlSide | ChargeSide | None:
        """What the workload does outside Kafka; imported only where there is any, for it needs extras."""
        workload, provider = self.workload, self.site.provider
        if workload.database_url is None:
            return None
        if workload.shape is workloads.Shape.CHARGE and provider is not None:
            from tallystick.verify.charging import ChargeSide

            return ChargeSide(workload.database_url, provider.truth)
        from tallystick.verify.sql_count import SqlSide

        return SqlSide(workload.database_url, workload.name)

    def _run(self) -> Outcome:
        settings, workload, site = self.settings, self.workload, self.site
        crew = Crew(self._worker, count=settings.workers, timeline=self.timeline, kill_log=self._kill_log)
        dispatchers = Crew(
            self._dispatcher,
            count=_DISPATCHERS if site.provider is not None else 0,
            timeline=self.timeline,
            kill_log=self._kill_log,
            name="dispatcher",
        )
        crews = Crews(crew, dispatchers)
        feed = Feed(
            site.reach(),
            workload.sources,
            endless_ticks(seed=settings.seed, accounts=settings.accounts),
            rate_per_s=settings.rate_per_s,
        )
        identify = identity_from_payload(workloads.identity_field(workload.shape))
        sightings = [Sightings(self.folder, accounts=settings.accounts) for _ in range(2)]
        readers = [
            LiveReader(
                site.reach(),
                isolation,
                workload.sinks,
                partitions=workload.partitions,
                identify=identify,
                timeline=self.timeline,
                sightings=noted,
            )
            for isolation, noted in zip(("read_committed", "read_uncommitted"), sightings, strict=True)
        ]
        aborter = Aborter(site.reach(), workload.sinks, partitions=workload.partitions, name=workload.name)
        crowd = GroupCrowd(
            site.reach(proxied=True), workload.group, workload.sources, session_timeout_ms=SESSION_TIMEOUT_MS
        )
        world = World(
            workers=crew,
            crowd=crowd,
            timeline=self.timeline,
            session_timeout_s=SESSION_TIMEOUT_MS / 1000,
            proxy=site.proxy,
            broker=site.broker,
            broker_faults=site.broker_faults,
            database=site.database,
            places=places(
                transactional=settings.guarantee is Guarantee.EXACTLY_ONCE,
                inbox=workload.shape in workloads.WITH_INBOX,
            ),
            provider=site.provider,
            dispatchers=dispatchers,
        )
        strikes = plan(settings.faults, seed=settings.seed, duration_s=settings.duration_s, every_s=settings.every_s)
        injector = Injector(strikes, FAULTS, world, settings.seed)
        try:
            with GroupWatch(
                site.bootstrap, workload.group, workload.sources, workload.sinks, client=site.client
            ) as watch:
                crews.start()
                self._await_members(crew)
                auditor = Auditor(watch, self.timeline)
                for thread in (feed, aborter, auditor, *readers):
                    thread.start()
                self._under_faults(injector, crews, feed, auditor)
                self._to_the_end(injector, crews, feed, aborter, auditor)
                self._problem("worker", crews.stop())
                auditor.finish()
                for reader in readers:
                    reader.finish()
                return self._outcome(crew, feed, aborter, auditor, readers, sightings, injector)
        finally:
            injector.heal()
            crews.kill_all()
            for noted in sightings:
                noted.close()

    # -- the phases

    def _await_members(self, crew: Crew) -> None:
        deadline = time.monotonic() + _JOIN_TIMEOUT_S
        while self.settings.application is None:
            joined = members(self.site, self.workload.group)
            if joined >= crew.count:
                break
            crew.look()
            if time.monotonic() > deadline:
                raise RunUnfinished(f"only {joined} of {crew.count} workers joined the group: {crew.last_words()}")
            time.sleep(_TURN_S)
        self.timeline.note("run", "all workers have joined")

    def _under_faults(self, injector: Injector, crew: Crews, feed: Feed, auditor: Auditor) -> None:
        """Events are sent until the time is over, what was due has struck, and what had begun to break has healed."""
        began, duration_s = time.monotonic(), self.settings.duration_s
        while (elapsed_s := time.monotonic() - began) < duration_s or (
            (injector.active or injector.late) and elapsed_s < duration_s + _HEALING_S
        ):
            injector.step(elapsed_s)
            crew.look()
            self.report(Progress("under faults", elapsed_s, feed.sent, auditor.remaining, injector.active))
            time.sleep(_TURN_S)

    def _to_the_end(self, injector: Injector, crew: Crews, feed: Feed, aborter: Aborter, auditor: Auditor) -> None:
        """Nothing is broken any more: all that is left must be done within the time."""
        injector.heal()
        self.timeline.note("run", "the faults are over")
        if self.sql is not None:
            self.sql.reconnect()
        self._problem("producer", feed.finish(_ACKNOWLEDGE_TIMEOUT_S))
        aborter.finish()
        began = time.monotonic()
        while (elapsed_s := time.monotonic() - began) < self.settings.drain_timeout_s:
            crew.look()
            self.report(Progress("to the end", elapsed_s, feed.sent, auditor.remaining, ()))
            if (
                auditor.remaining == 0
                and auditor.remaining_at_s > began
                and _are_stable(auditor)
                and self._is_charged()
            ):
                self.timeline.note("run", "all is consumed")
                return
            time.sleep(_TURN_S)
        self._problem(
            "unfinished",
            [f"{auditor.remaining} events are not consumed {elapsed_s:.0f} s after the faults: {crew.last_words()}"],
        )

    # -- the verdict

    def _outcome(
        self,
        crew: Crew,
        feed: Feed,
        aborter: Aborter,
        auditor: Auditor,
        readers: list[LiveReader],
        sightings: list[Sightings],
        injector: Injector,
    ) -> Outcome:
        settings, workload = self.settings, self.workload
        self.report(Progress("reading everything again", 0, feed.sent, 0, ()))
        self._problem("reader", [f"{one.name}: {text}" for one in readers for text in one.errors[:3]])
        self._problem("hangs", hanging_transactions(self.site, (*workload.sinks, OFFSETS_TOPIC)))
        self._problem("reader", [f"{one.name}: {one.raised!r}" for one in readers if one.raised is not None])
        moments = self.timeline.moments()
        shown, raw = sightings
        with Comparison(
            settings=settings,
            workload=workload,
            site=self.site,
            sql=self.sql,
            folder=self.folder,
            sent=feed.sent,
            placed=feed.placed,
            shown=shown,
            raw=raw,
            known_aborted=frozenset(aborter.aborted),
            samples=tuple(auditor.samples),
            moments=moments,
            problems=self._problems,
        ) as comparison:
            outputs, inputs = comparison.outputs(), comparison.inputs()
        asked = {spec.argument for spec in settings.faults}  # a place that only the seed chose may be missed
        return Outcome(
            settings=settings,
            site=self.site.name,
            workload=workload,
            inputs=inputs.report,
            outputs=outputs.report,
            input_history=inputs.evidence,
            history=outputs.evidence,
            violations=(*self._problems, *inputs.violations, *outputs.violations),
            moments=moments,
            struck=injector.struck,
            missed=(
                *(spec.name for spec in settings.faults if not injector.struck[spec.name]),
                *(f"kill-at:{place}" for place in crew.unreached if place.partition(":")[0] in asked),
            ),
            kills=crew.kills,
            zombies_fenced=crew.fenced,
            own_ends=tuple(crew.own_ends),
            events=feed.places.count,
            elapsed_ms=self.timeline.now_ms(),
            versions=versions(),
            notes=skipped_markers(self.site.broker_log, since=self._log_from),
        )

    # -- parts

    def _is_charged(self) -> bool:
        return self.sql is None or self.sql.open_attempts() == 0

    def _dispatcher(self, number: int, _machine: int) -> WorkerProcess:
        from tallystick.verify.charging import ENV_DATABASE, ENV_PROVIDER

        provider, database_url = self.site.provider, self.workload.database_url
        if provider is None or database_url is None:
            raise RuntimeError("a dispatcher without a provider")
        place = WorkerPlace(
            bootstrap=self.site.bootstrap, slot=f"dispatcher-{number}", batch_records=1, stats_dir=str(self.folder)
        )
        return WorkerProcess(
            self.workload,
            place,
            folder=self.folder,
            kill_log=self._kill_log,
            command=(sys.executable, "-m", "tallystick.verify.charging"),
            more={ENV_DATABASE: database_url, ENV_PROVIDER: provider.url},
        )

    @property
    def _kill_log(self) -> Path:
        return self.folder / "kills.jsonl"

    def _worker(self, number: int, machine: int) -> WorkerProcess:
        workload = self.workload
        if workload.state_dir is not None:
            workload = msgspec.structs.replace(workload, state_dir=f"{workload.state_dir}-{machine}")
        place = worker_place(self.settings, self.site, number, folder=self.folder)
        return place.process(workload, folder=self.folder, kill_log=self._kill_log)

    def _problem(self, checker: str, texts: list[str]) -> None:
        if texts:
            self._problems.append(Violation("run", checker, len(texts), tuple(texts[:3])))


def _are_stable(auditor: Auditor) -> bool:
    latest = {(one.topic, one.partition): one for one in auditor.samples}
    return all(one.last_stable_offset == one.high_watermark for one in latest.values())
