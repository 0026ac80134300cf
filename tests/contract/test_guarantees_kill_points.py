"""Every kill point of the cycle and of the inbox, each hit by a real SIGKILL, and nothing lost or repeated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest
from tests.support.brokers import Cluster, Names, Stack

from tallystick import killpoints
from tallystick.boundary import SqlEffect
from tallystick.pipeline import Guarantee
from tallystick.verify.kill_report import KillRunReport
from tallystick.verify.kill_run import KillRun
from tallystick.verify.kills import at_point, at_random
from tallystick.verify.workloads import Shape, WorkloadSettings

CYCLE: Final = (
    "cycle.after-poll",
    "cycle.after-begin",
    "cycle.after-process",
    "cycle.after-produce",
    "cycle.before-offsets",
    "cycle.after-offsets",
    "cycle.before-commit",
    "cycle.after-commit",
)
INBOX: Final = ("inbox.after-insert", "inbox.before-sql-commit", "inbox.after-sql-commit")

pytestmark = pytest.mark.timeout(400)


def run_with_kills(
    bootstrap: str,
    settings: WorkloadSettings,
    folder: Path,
    points: Sequence[str],
    *,
    visit: int = 2,
) -> KillRunReport:
    """One worker that dies at each point in turn: with one worker, what is seen after a kill is exact."""
    return KillRun(
        bootstrap=bootstrap,
        settings=settings,
        folder=folder,
        events=600,
        batch_records=20,
        kills=tuple(at_point(point, visit=visit) for point in points),
        timeout_s=300,
    ).run()


def test_every_declared_kill_point_of_cycle_and_inbox_is_in_these_lists() -> None:
    assert SqlEffect is not None  # its module declares the inbox's kill points
    declared = {name for name in killpoints.declared() if name.split(".")[0] in {"cycle", "inbox"}}
    assert declared == {*CYCLE, *INBOX}


def test_kills_at_every_point_of_the_cycle_lose_and_repeat_nothing(
    kafka: Cluster, names: Names, tmp_path: Path
) -> None:
    settings = WorkloadSettings(name=names("cycle"), shape=Shape.FAN_OUT, guarantee=Guarantee.EXACTLY_ONCE)
    report = run_with_kills(kafka.bootstrap, settings, tmp_path, CYCLE)
    assert report.passed, str(report)
    assert [found.kill.point for found in report.evidence] == list(CYCLE)
    assert report.transactions_open_at_kill >= 2  # after the offsets were sent, and before the commit


def test_kills_at_every_point_of_cycle_and_inbox_leave_one_row_for_each_event(
    stack: Stack, names: Names, tmp_path: Path
) -> None:
    settings = WorkloadSettings(
        name=names("inbox"),
        shape=Shape.SQL_COUNT,
        guarantee=Guarantee.EXACTLY_ONCE,
        database_url=stack.database_url,
    )
    report = run_with_kills(stack.bootstrap, settings, tmp_path, (*INBOX, *CYCLE))
    assert report.passed, str(report)
    assert report.inbox_replays is not None
    assert report.inbox_replays >= 6  # one for each kill between the SQL commit and the Kafka commit


def test_random_kills_of_two_workers_and_the_broker_lose_and_repeat_nothing(
    kafka: Cluster, names: Names, tmp_path: Path
) -> None:
    kills = at_random(seed=7, count=4, events=2_000, slots=2, broker=True)
    report = KillRun(
        bootstrap=kafka.bootstrap,
        settings=WorkloadSettings(
            name=names("random"), shape=Shape.FAN_OUT, guarantee=Guarantee.EXACTLY_ONCE, pause_us=500
        ),
        folder=tmp_path,
        events=2_000,
        accounts=64,
        workers=2,
        kills=kills,
        timeout_s=300,
        broker=kafka,
    ).run()
    assert report.passed, str(report)
    assert {found.kill.target for found in report.evidence} == {kill.target for kill in kills}


def test_a_kill_that_never_happens_fails_the_run(embedded_cluster: Cluster, names: Names, tmp_path: Path) -> None:
    settings = WorkloadSettings(name=names("missed"), shape=Shape.PASS_THROUGH, guarantee=Guarantee.EXACTLY_ONCE)
    report = run_with_kills(embedded_cluster.bootstrap, settings, tmp_path, ["cycle.before-commit"], visit=100_000)
    assert report.oracle.passed
    assert not report.passed
    assert report.missed == ("cycle.before-commit:100000 in slot 0: never happened",)


@pytest.mark.parametrize(
    ("guarantee", "point", "loses", "repeats"),
    [
        (Guarantee.AT_MOST_ONCE, "cycle.after-process", True, False),
        (Guarantee.AT_LEAST_ONCE, "cycle.before-commit", False, True),
        (Guarantee.EXACTLY_ONCE, "cycle.after-process", False, False),
        (Guarantee.EXACTLY_ONCE, "cycle.before-commit", False, False),
    ],
)
def test_the_same_kill_shows_what_each_guarantee_does(
    kafka: Cluster,
    names: Names,
    tmp_path: Path,
    guarantee: Guarantee,
    point: str,
    loses: bool,
    repeats: bool,
) -> None:
    """The control: the oracle does find losses and repetitions where there are some."""
    settings = WorkloadSettings(name=names("control"), shape=Shape.PASS_THROUGH, guarantee=guarantee)
    report = run_with_kills(kafka.bootstrap, settings, tmp_path, [point])
    assert not report.missed
    assert (report.oracle.lost > 0, report.oracle.repeated > 0) == (loses, repeats), str(report)
