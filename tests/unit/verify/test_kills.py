"""What a kill must have hit, and when a run proves nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tallystick.errors import ConfigurationError
from tallystick.pipeline import Guarantee
from tallystick.verify.kill_report import KillRunReport, WorkerTotals
from tallystick.verify.kill_run import KillRun
from tallystick.verify.kills import Evidence, Kill, Target, at_point, at_random
from tallystick.verify.oracle import Expected, Position, Report, Seen, TopicView, examine
from tallystick.verify.workloads import Shape, WorkloadSettings

SETTINGS = WorkloadSettings(name="w", shape=Shape.PASS_THROUGH, guarantee=Guarantee.EXACTLY_ONCE)


def evidence(kill: Kill, **changes: object) -> Evidence:
    """A kill that hit with everything there is to see."""
    seen = Evidence(kill=kill, logged=True, remaining=10, open_partitions=1, offsets_pending=True, ahead_rows=5)
    return replace(seen, **changes)  # type: ignore[arg-type]


def right() -> Report:
    seen = Seen(Position("out", 0, 0), b"k", "a", "")
    view = TopicView("out", (seen,), (seen,), last_stable_offsets={0: 2}, high_watermarks={0: 2})
    return examine([Expected("out", "a", b"k", group="a", sequence=0)], [view])


def report(*evidence: Evidence, planned: tuple[Kill, ...] | None = None, replays: int | None = None) -> KillRunReport:
    return KillRunReport(
        settings=SETTINGS,
        seed=1,
        workers=1,
        planned=tuple(found.kill for found in evidence) if planned is None else planned,
        evidence=evidence,
        oracle=right(),
        inbox_replays=replays,
        totals=WorkerTotals(aborts={}, producers_discarded={}),
        unplanned_exits=(),
        elapsed_ms=1,
    )


def test_a_kill_that_hit_has_not_missed() -> None:
    found = evidence(at_point("cycle.before-commit"))
    assert found.missed(Guarantee.EXACTLY_ONCE) is None
    assert report(found).passed


@pytest.mark.parametrize(
    ("point", "changes", "reason"),
    [
        ("cycle.after-poll", {"logged": False}, "kill log"),
        ("cycle.after-poll", {"remaining": 0}, "no input was left"),
        ("cycle.before-commit", {"open_partitions": 0, "offsets_pending": False}, "no transaction was open"),
        ("cycle.after-offsets", {"open_partitions": 0, "offsets_pending": False}, "no transaction was open"),
        ("inbox.after-sql-commit", {"ahead_rows": 0}, "no inbox row"),
    ],
)
def test_a_kill_without_its_evidence_has_missed_and_fails_the_run(
    point: str, changes: dict[str, object], reason: str
) -> None:
    found = evidence(at_point(point), **changes)
    assert reason in (found.missed(Guarantee.EXACTLY_ONCE) or "")
    assert not report(found).passed


def test_pending_offsets_alone_are_an_open_transaction() -> None:
    found = evidence(at_point("cycle.before-commit"), open_partitions=0)
    assert found.transaction_open
    assert found.missed(Guarantee.EXACTLY_ONCE) is None


def test_no_transaction_is_asked_of_a_guarantee_without_transactions() -> None:
    found = evidence(at_point("cycle.before-commit"), open_partitions=0, offsets_pending=False)
    assert found.missed(Guarantee.AT_LEAST_ONCE) is None


def test_a_planned_kill_that_never_happened_fails_the_run_even_if_its_twin_did() -> None:
    kill = at_point("cycle.after-poll", 3)
    once = report(evidence(kill), planned=(kill, kill))
    assert once.missed == ("cycle.after-poll:3 in slot 0: never happened",)
    assert not once.passed


def test_kills_between_both_commits_must_make_the_inbox_meet_rows_again() -> None:
    found = (evidence(at_point("inbox.after-sql-commit")), evidence(at_point("cycle.before-commit")))
    assert report(*found, replays=2).passed
    assert not report(*found, replays=1).passed


def test_a_worker_that_died_of_something_else_fails_the_run() -> None:
    sound = report(evidence(at_point("cycle.after-poll")))
    assert sound.passed
    assert not replace(sound, unplanned_exits=("slot-0 ended with 1",)).passed


def test_a_run_under_another_guarantee_does_not_pass_as_exactly_once() -> None:
    settings = WorkloadSettings(name="w", shape=Shape.PASS_THROUGH, guarantee=Guarantee.AT_LEAST_ONCE)
    assert not replace(report(evidence(at_point("cycle.after-poll"))), settings=settings).passed


def test_random_kills_follow_their_seed_and_go_forward_through_the_input() -> None:
    kills = at_random(seed=3, count=20, events=1_000, slots=2, broker=True)
    assert kills == at_random(seed=3, count=20, events=1_000, slots=2, broker=True)
    assert kills != at_random(seed=4, count=20, events=1_000, slots=2, broker=True)
    levels = [kill.at_remaining for kill in kills]
    assert levels == sorted(levels, reverse=True)
    assert {kill.target for kill in kills} == {Target.WORKER, Target.BROKER}
    assert {kill.slot for kill in kills} == {0, 1}


def test_senseless_kills_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        at_point("")
    with pytest.raises(ConfigurationError):
        at_point("cycle.after-poll", 0)
    with pytest.raises(ConfigurationError):
        Kill(target=Target.WORKER, point="cycle.after-poll")
    with pytest.raises(ConfigurationError, match="only 1 workers"):
        KillRun(bootstrap="", settings=SETTINGS, folder=tmp_path, kills=(at_point("cycle.after-poll", slot=1),))
    with pytest.raises(ConfigurationError, match="needs a broker"):
        KillRun(bootstrap="", settings=SETTINGS, folder=tmp_path, kills=(Kill(target=Target.BROKER),))


def test_totals_add_the_last_line_of_each_incarnation(tmp_path: Path) -> None:
    rest = {"step": "count", "records_replayed": 0, "aborts": {"x": 1}, "producers_discarded": {}}
    lines = [json.dumps({"pid": pid, "commits": commits, **rest}) for pid, commits in ((1, 3), (1, 5), (2, 7))]
    (tmp_path / "slot-0.jsonl").write_text("\n".join(lines) + "\n")
    totals = WorkerTotals.read(tmp_path)
    assert (totals.commits, totals.aborts) == (12, {"x": 2})


def test_the_report_is_plain_json() -> None:
    plain = report(evidence(at_point("cycle.after-poll"))).to_json()
    assert plain["passed"] is True
    assert plain["kills"][0]["kill"] == "cycle.after-poll:1 in slot 0"
