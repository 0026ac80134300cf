"""``tallystick demo guarantees`` on the embedded broker, smaller than by default."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from tests.support.brokers import Cluster

from tallystick.demo.guarantees import GuaranteeOptions, run, schedule, verdict
from tallystick.demo.screen import Screen
from tallystick.pipeline import Guarantee
from tallystick.verify.kill_report import KillRunReport, WorkerTotals
from tallystick.verify.kills import Evidence, Kill
from tallystick.verify.oracle import Expected, Position, Report, Seen, TopicView, examine
from tallystick.verify.workloads import Shape, WorkloadSettings


@pytest.mark.timeout(300)
def test_the_demo_measures_what_each_guarantee_promises(embedded_cluster: Cluster, tmp_path: Path) -> None:
    screen = Screen(Console(file=io.StringIO(), width=120))
    options = GuaranteeOptions(bootstrap=embedded_cluster.bootstrap, events=1_000, folder=tmp_path)
    assert run(options, screen) == 0
    runs = {plain["guarantee"]: plain for plain in json.loads((tmp_path / "guarantees.json").read_text())}
    assert {name: (found["oracle"]["findings"]["lost"]["count"] > 0) for name, found in runs.items()} == {
        "at-most-once": True,
        "at-least-once": False,
        "exactly-once": False,
    }
    assert all(len(found["kills"]) == len(schedule(1)) for found in runs.values())


def fabricated(guarantee: Guarantee, *, copies: int) -> KillRunReport:
    """A finished run in which the only event was seen ``copies`` times."""
    seen = tuple(Seen(Position("out", 0, offset), b"k", "a", "") for offset in range(copies))
    view = TopicView("out", seen, seen, last_stable_offsets={0: copies}, high_watermarks={0: copies})
    oracle: Report = examine([Expected("out", "a", b"k", group="a", sequence=0)], [view])
    kill: Kill = schedule(1)[0]
    return KillRunReport(
        settings=WorkloadSettings(name="w", shape=Shape.PASS_THROUGH, guarantee=guarantee),
        seed=1,
        workers=2,
        planned=(kill,),
        evidence=(Evidence(kill, logged=True, remaining=9, open_partitions=1, offsets_pending=True, ahead_rows=0),),
        oracle=oracle,
        inbox_replays=None,
        totals=WorkerTotals(aborts={}, producers_discarded={}),
        unplanned_exits=(),
        elapsed_ms=1,
    )


@pytest.mark.parametrize("copies", [0, 1, 2])
@pytest.mark.parametrize(
    ("guarantee", "promised"),
    [(Guarantee.AT_MOST_ONCE, 0), (Guarantee.AT_LEAST_ONCE, 2), (Guarantee.EXACTLY_ONCE, 1)],
)
def test_the_verdict_accepts_only_what_is_promised(guarantee: Guarantee, promised: int, copies: int) -> None:
    assert (verdict(fabricated(guarantee, copies=copies)) is None) == (copies == promised)


def test_the_verdict_refuses_a_run_whose_kill_missed() -> None:
    report = replace(fabricated(Guarantee.EXACTLY_ONCE, copies=1), evidence=())
    assert "missed" in (verdict(report) or "")
