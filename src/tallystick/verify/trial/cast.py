"""Everyone who takes part in a trial: workers, those who write, those who look on, and who breaks things.

Owns: how each of them is made. Must not know: the order of things, the verdict.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from tallystick.pipeline import Guarantee
from tallystick.verify import workloads
from tallystick.verify.faults.catalog import FAULTS
from tallystick.verify.faults.fault import World
from tallystick.verify.faults.injector import Injector
from tallystick.verify.faults.of_workers import places
from tallystick.verify.faults.specs import plan
from tallystick.verify.oracle import identity_from_payload
from tallystick.verify.ticks import endless_ticks
from tallystick.verify.timeline import Timeline
from tallystick.verify.trial.crew import Crew
from tallystick.verify.trial.feed import Aborter, Feed
from tallystick.verify.trial.places import worker_place
from tallystick.verify.trial.settings import SESSION_TIMEOUT_MS, TrialSettings
from tallystick.verify.trial.sightings import Sightings
from tallystick.verify.trial.site import Site
from tallystick.verify.trial.watchers import GroupCrowd, LiveReader
from tallystick.verify.worker import WorkerPlace
from tallystick.verify.worker_process import WorkerProcess
from tallystick.verify.workloads import WorkloadSettings

_DISPATCHERS: Final = 2


@dataclass(frozen=True, slots=True)
class Casting:
    """What everyone is made of: one trial's."""

    settings: TrialSettings
    workload: WorkloadSettings
    site: Site
    timeline: Timeline
    folder: Path

    def everyone(self) -> Cast:
        """Nobody has started yet."""
        crew, dispatchers = self._crew(), self._dispatchers()
        shown, raw = (Sightings(self.folder, accounts=self.settings.accounts) for _ in range(2))
        readers = (self._reader("read_committed", shown), self._reader("read_uncommitted", raw))
        return Cast(
            crew, dispatchers, self._feed(), self._aborter(), shown, raw, readers, self._injector(crew, dispatchers)
        )

    def _crew(self) -> Crew:
        return Crew(self._worker, count=self.settings.workers, timeline=self.timeline, kill_log=self._kill_log)

    def _dispatchers(self) -> Crew:
        return Crew(
            self._dispatcher,
            count=_DISPATCHERS if self.site.provider is not None else 0,
            timeline=self.timeline,
            kill_log=self._kill_log,
            name="dispatcher",
        )

    def _feed(self) -> Feed:
        settings = self.settings
        return Feed(
            self.site.reach(),
            self.workload.sources,
            endless_ticks(seed=settings.seed, accounts=settings.accounts),
            rate_per_s=settings.rate_per_s,
        )

    def _aborter(self) -> Aborter:
        workload = self.workload
        return Aborter(self.site.reach(), workload.sinks, partitions=workload.partitions, name=workload.name)

    def _reader(self, isolation: str, noted: Sightings) -> LiveReader:
        return LiveReader(
            self.site.reach(),
            isolation,
            self.workload.sinks,
            partitions=self.workload.partitions,
            identify=identity_from_payload(workloads.identity_field(self.workload.shape)),
            timeline=self.timeline,
            sightings=noted,
        )

    def _injector(self, crew: Crew, dispatchers: Crew) -> Injector:
        settings, workload, site = self.settings, self.workload, self.site
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
        return Injector(strikes, FAULTS, world, settings.seed)

    def _worker(self, number: int, machine: int) -> WorkerProcess:
        workload = self.workload
        if workload.state_dir is not None:
            workload = msgspec.structs.replace(workload, state_dir=f"{workload.state_dir}-{machine}")
        place = worker_place(self.settings, self.site, number, folder=self.folder)
        return place.process(workload, folder=self.folder, kill_log=self._kill_log)

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


@dataclass(frozen=True, slots=True)
class Cast:
    """``shown`` and ``raw`` are what the two ``readers`` see: what is committed, and everything."""

    crew: Crew
    dispatchers: Crew
    feed: Feed
    aborter: Aborter
    shown: Sightings
    raw: Sightings
    readers: tuple[LiveReader, LiveReader]
    injector: Injector
