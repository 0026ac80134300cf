"""What each guarantee loses and repeats, measured: one workload, three runs, the same kills.

Owns: the schedule of kills, the three runs and the table. Must not know: how a guarantee is kept, or how its outputs
are judged (``verify``).
"""

from __future__ import annotations

import json
import random
import tempfile
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.table import Table

from tallystick.demo.screen import Screen
from tallystick.pipeline import Guarantee
from tallystick.verify.kill_report import KillRunReport
from tallystick.verify.kill_run import KillRun
from tallystick.verify.kills import Kill, at_point
from tallystick.verify.workloads import Shape, WorkloadSettings

WORKERS: Final = 2
BATCH_RECORDS: Final = 25
PAUSE_US: Final = 500

_POINTS: Final = {
    "cycle.after-process": "processed, nothing written yet",
    "cycle.before-commit": "the commit is the next thing it would do",
    "cycle.after-commit": "committed, and whatever comes after the commit not done",
}
"""The same three places for every guarantee. What lies behind a worker there depends on the order it works in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuaranteeOptions:
    """``bootstrap`` None starts the embedded broker. The same ``seed`` gives the same events and the same kills."""

    bootstrap: str | None = None
    events: int = 2_000
    seed: int = 1
    folder: Path | None = None


def schedule(seed: int) -> tuple[Kill, ...]:
    """Each worker dies once at each place, in an order and at a visit that the seed decides."""
    chance = random.Random(seed)  # noqa: S311 - repeatable on purpose
    kills: list[Kill] = []
    for slot in range(WORKERS):
        points = list(_POINTS)
        chance.shuffle(points)
        kills += [at_point(point, visit=chance.randint(2, 4), slot=slot) for point in points]
    return tuple(kills)


def verdict(report: KillRunReport) -> str | None:
    """Why a run did not show what its guarantee promises; None if it did."""
    oracle, guarantee = report.oracle, report.settings.guarantee
    if report.missed:
        return f"a kill missed: {report.missed[0]}"
    if report.unplanned_exits:
        return f"a worker ended on its own: {report.unplanned_exits[0]}"
    loses, repeats = oracle.lost > 0, oracle.repeated > 0
    if (loses, repeats) != _PROMISED[guarantee]:
        return f"{oracle.lost} lost and {oracle.repeated} repeated is not what {guarantee.value} does under kills"
    wrong = [
        f"{finding.checker}: {finding.count}"
        for finding in oracle.findings
        if finding.checker in {"unexpected", "altered", "aborted-visible", "vanished", "open"} and finding.count
    ]
    if guarantee is Guarantee.EXACTLY_ONCE and not oracle.passed:
        return str(oracle)
    return ", ".join(wrong) or None


_PROMISED: Final = {
    Guarantee.AT_MOST_ONCE: (True, False),
    Guarantee.AT_LEAST_ONCE: (False, True),
    Guarantee.EXACTLY_ONCE: (False, False),
}
"""Whether the oracle must find losses and repetitions under these kills. A run without them proves nothing."""


def run(options: GuaranteeOptions, screen: Screen) -> int:
    """Do all three and show the table. Returns the exit code: 0 only if each did exactly what it promises."""
    kills = schedule(options.seed)
    with ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tallystick-")))
        bootstrap = options.bootstrap or _start_broker(stack, folder, screen)
        screen.heading(f"{options.events} events, {WORKERS} workers, {len(kills)} times kill -9, three guarantees")
        for point, meaning in _POINTS.items():
            screen.say(f"each worker dies once at {point}: {meaning}")
        reports = [_run_one(guarantee, bootstrap, options, kills, folder, screen) for guarantee in Guarantee]
        if options.folder is not None:
            path = folder / "guarantees.json"
            path.write_text(json.dumps([report.to_json() for report in reports], indent=2) + "\n")
            screen.say(f"all numbers: {path}")
    screen.heading("What became of the events")
    screen.console.print(_table(reports))
    failures = [(report.settings.guarantee, reason) for report in reports if (reason := verdict(report)) is not None]
    for guarantee, reason in failures:
        screen.fault(f"{guarantee.value}: {reason}")
    if not failures:
        screen.recovered("each guarantee did what it promises, no more and no less (counted by an independent reader)")
    return 1 if failures else 0


def _start_broker(stack: ExitStack, folder: Path, screen: Screen) -> str:
    from tallystick.broker import EmbeddedBroker

    broker = stack.enter_context(EmbeddedBroker(folder / "broker"))
    screen.say(f"the embedded broker listens on {broker.bootstrap}")
    return broker.bootstrap


def _run_one(
    guarantee: Guarantee,
    bootstrap: str,
    options: GuaranteeOptions,
    kills: tuple[Kill, ...],
    folder: Path,
    screen: Screen,
) -> KillRunReport:
    settings = WorkloadSettings(
        name=f"guarantees-{guarantee.value}-{uuid.uuid4().hex[:8]}",
        shape=Shape.PASS_THROUGH,
        guarantee=guarantee,
        pause_us=PAUSE_US,
    )
    with screen.bars(**{guarantee.value.replace("-", "_"): options.events}) as bars:
        (advance,) = bars.values()
        return KillRun(
            bootstrap=bootstrap,
            settings=settings,
            folder=folder / guarantee.value,
            events=options.events,
            accounts=64,
            seed=options.seed,
            workers=WORKERS,
            batch_records=BATCH_RECORDS,
            kills=kills,
            progress=lambda consumed, _: advance(consumed),
            on_kill=lambda found: screen.fault(
                f"worker {found.kill.slot} killed at {found.kill.point}, {found.remaining:,} events to go"
            ),
        ).run()


def _table(reports: list[KillRunReport]) -> Table:
    table = Table()
    table.add_column("guarantee", no_wrap=True)
    for heading in ("events", "right", "lost", "repeated", "kills that hit"):
        table.add_column(heading, justify="right")
    for report in reports:
        oracle = report.oracle
        table.add_row(
            report.settings.guarantee.value,
            f"{oracle.expected:,}",
            f"{oracle.right:,}",
            _marked(oracle.lost),
            _marked(oracle.repeated),
            f"{len(report.planned) - len(report.missed)} of {len(report.planned)}",
        )
    return table


def _marked(count: int) -> str:
    return f"[bold red]{count:,}[/bold red]" if count else f"[green]{count}[/green]"
