"""The trial itself, from empty topics to the verdict.

Owns: the order of things: topics, workers, feed and watchers, faults, healing, the rest of the input, the last look.
Must not know: what a fault does, what is right or wrong.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tallystick.verify import workloads
from tallystick.verify.faults.injector import Injector
from tallystick.verify.kill_run import RunUnfinished
from tallystick.verify.ticks import account_name
from tallystick.verify.timeline import Timeline
from tallystick.verify.trial.cast import Cast, Casting
from tallystick.verify.trial.comparison import Comparison
from tallystick.verify.trial.crew import Crew, Crews
from tallystick.verify.trial.feed import Feed
from tallystick.verify.trial.hanging import OFFSETS_TOPIC, hanging_transactions
from tallystick.verify.trial.outcome import Outcome, Violation
from tallystick.verify.trial.places import make_topics, members, remove_groups, remove_topics, workload_of
from tallystick.verify.trial.settings import TrialSettings
from tallystick.verify.trial.site import Site
from tallystick.verify.trial.skipped import log_size, skipped_markers
from tallystick.verify.trial.watchers import Auditor
from tallystick.verify.versions import versions
from tallystick.verify.watch import GroupWatch
from tallystick.verify.workloads import WorkloadSettings

if TYPE_CHECKING:
    from tallystick.verify.charging import ChargeSide
    from tallystick.verify.sql_count import SqlSide

_TURN_S: Final = 0.05
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
        workload, site = self.workload, self.site
        cast = Casting(self.settings, workload, site, self.timeline, self.folder).everyone()
        crews = Crews(cast.crew, cast.dispatchers)
        try:
            with GroupWatch(
                site.bootstrap, workload.group, workload.sources, workload.sinks, client=site.client
            ) as watch:
                crews.start()
                self._await_members(cast.crew)
                auditor = Auditor(watch, self.timeline)
                for thread in (cast.feed, cast.aborter, auditor, *cast.readers):
                    thread.start()
                self._under_faults(cast.injector, crews, cast.feed, auditor)
                self._to_the_end(cast, crews, auditor)
                self._problem("worker", crews.stop())
                auditor.finish()
                for reader in cast.readers:
                    reader.finish()
                return self._outcome(cast, auditor)
        finally:
            cast.injector.heal()
            crews.kill_all()
            cast.shown.close()
            cast.raw.close()

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

    def _to_the_end(self, cast: Cast, crew: Crews, auditor: Auditor) -> None:
        """Nothing is broken any more: all that is left must be done within the time."""
        cast.injector.heal()
        self.timeline.note("run", "the faults are over")
        if self.sql is not None:
            self.sql.reconnect()
        self._problem("producer", cast.feed.finish(_ACKNOWLEDGE_TIMEOUT_S))
        cast.aborter.finish()
        began = time.monotonic()
        while (elapsed_s := time.monotonic() - began) < self.settings.drain_timeout_s:
            crew.look()
            self.report(Progress("to the end", elapsed_s, cast.feed.sent, auditor.remaining, ()))
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

    def _outcome(self, cast: Cast, auditor: Auditor) -> Outcome:
        settings, workload, feed, readers = self.settings, self.workload, cast.feed, cast.readers
        self.report(Progress("reading everything again", 0, feed.sent, 0, ()))
        self._problem("reader", [f"{one.name}: {text}" for one in readers for text in one.errors[:3]])
        self._problem("hangs", hanging_transactions(self.site, (*workload.sinks, OFFSETS_TOPIC)))
        self._problem("reader", [f"{one.name}: {one.raised!r}" for one in readers if one.raised is not None])
        moments = self.timeline.moments()
        with Comparison(
            settings=settings,
            workload=workload,
            site=self.site,
            sql=self.sql,
            folder=self.folder,
            sent=feed.sent,
            placed=feed.placed,
            shown=cast.shown,
            raw=cast.raw,
            known_aborted=frozenset(cast.aborter.aborted),
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
            struck=cast.injector.struck,
            missed=(
                *(spec.name for spec in settings.faults if not cast.injector.struck[spec.name]),
                *(f"kill-at:{place}" for place in cast.crew.unreached if place.partition(":")[0] in asked),
            ),
            kills=cast.crew.kills,
            zombies_fenced=cast.crew.fenced,
            own_ends=tuple(cast.crew.own_ends),
            events=feed.places.count,
            elapsed_ms=self.timeline.now_ms(),
            versions=versions(),
            notes=skipped_markers(self.site.broker_log, since=self._log_from),
        )

    # -- parts

    def _is_charged(self) -> bool:
        return self.sql is None or self.sql.open_attempts() == 0

    def _problem(self, checker: str, texts: list[str]) -> None:
        if texts:
            self._problems.append(Violation("run", checker, len(texts), tuple(texts[:3])))


def _are_stable(auditor: Auditor) -> bool:
    latest = {(one.topic, one.partition): one for one in auditor.samples}
    return all(one.last_stable_offset == one.high_watermark for one in latest.values())
