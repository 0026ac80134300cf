"""The page and the table: everything of a run is on them, escaped, and nothing is loaded from elsewhere."""

from __future__ import annotations

import io
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

from rich.console import Console

from tallystick.pipeline import Guarantee
from tallystick.verify.oracle import Expected, History, Position, Seen, TopicView, judge
from tallystick.verify.report.page import MOMENTS_DRAWN_MAX, page, svg
from tallystick.verify.report.terminal import summary
from tallystick.verify.timeline import Moment
from tallystick.verify.trial.outcome import Outcome, Verdict, Violation, forbidden
from tallystick.verify.trial.settings import TrialSettings
from tallystick.verify.workloads import Shape, WorkloadSettings

EVIL = "<script>alert('x')</script>"


def outcome(*violations: Violation, missed: tuple[str, ...] = (), notes: tuple[str, ...] = ()) -> Outcome:
    seen = (Seen(Position("out", 0, 0), b"k", "a", ""),)
    history = History(
        expected=(Expected("out", "a", b"k", group="a", sequence=0),),
        views=(TopicView("out", seen, seen, last_stable_offsets={0: 1}, high_watermarks={0: 1}),),
    )
    report = judge(history)
    return Outcome(
        settings=TrialSettings(workload=Shape.FAN_OUT, guarantee=Guarantee.EXACTLY_ONCE),
        site=f"a cluster {EVIL}",
        workload=WorkloadSettings(name="w", shape=Shape.FAN_OUT, guarantee=Guarantee.EXACTLY_ONCE),
        inputs=report,
        outputs=report,
        input_history=history,
        history=history,
        violations=violations,
        moments=(
            Moment(0, "run", "begins"),
            Moment(500, "faults", f"kill {EVIL}", until_ms=900),
            Moment(700, EVIL, "x"),
        ),
        struck=Counter({f"kill {EVIL}": 1}),
        missed=missed,
        kills=1,
        zombies_fenced=0,
        own_ends=(),
        events=1,
        elapsed_ms=1_000,
        versions={"tallystick": EVIL},
        notes=notes,
    )


class Tags(HTMLParser):
    """Counts what the document has, and fails on an end tag without its beginning."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found[tag] += 1
        self.links += [str(value) for name, value in attrs if name in {"src", "href"}]
        if tag not in {"meta", "line", "rect", "circle"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in {"line", "rect", "circle"}:
            return
        assert self.open.pop() == tag


def tags(document: str) -> Tags:
    parser = Tags()
    parser.feed(document)
    return parser


def test_the_page_is_whole_and_has_no_script_and_no_link() -> None:
    found = tags(page([outcome(), outcome(Violation("outputs", "lost", 3, (EVIL,), (EVIL, "second line")))]))
    assert found.open == []
    assert found.links == []
    assert found.found["script"] == 0
    assert found.found["svg"] == 2


def test_whatever_a_run_brings_is_escaped() -> None:
    document = page([outcome(Violation(EVIL, EVIL, 1, (EVIL,)), missed=(EVIL,), notes=(EVIL,))])
    assert EVIL not in document
    assert "&lt;script&gt;" in document


def test_each_lane_has_a_row_bars_for_what_lasts_and_dots_for_what_does_not() -> None:
    drawn = tags(svg(outcome().moments))
    assert (drawn.found["rect"], drawn.found["circle"]) == (1, 2)


def test_each_kind_of_fault_has_a_row_of_its_own_under_round_seconds() -> None:
    moments = (
        Moment(0, "run", "begins"),
        Moment(2_000, "faults", "kill-at:cycle.before-commit", until_ms=3_000),
        Moment(4_000, "faults", "kill-at:cycle.after-commit", until_ms=5_000),
        Moment(6_000, "faults", "late-end", until_ms=31_900),
        Moment(7_000, "slot-0", "killed"),
    )
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg(moments))
    assert texts == [f"{second} s" for second in range(0, 31, 5)] + ["run", "kill-at", "late-end", "slot-0"]


def test_a_run_of_hours_is_under_a_dozen_ticks() -> None:
    moments = (Moment(0, "run", "begins"), Moment(200 * 3_600_000, "run", "ends"))
    assert 2 <= svg(moments).count("<line") <= 12


def test_a_run_whose_faults_did_not_all_strike_is_partial_and_does_not_pass() -> None:
    some = outcome(missed=("late-end", "zombie"))
    assert (some.verdict, some.passed, some.to_json()["verdict"]) == (Verdict.PARTIAL, False, "partial")
    assert '<td class="partial">partial</td>' in page([some])
    assert "Asked for, and never struck: late-end, zombie." in page([some])
    assert outcome(Violation("outputs", "lost", 1, ()), missed=("late-end",)).verdict is Verdict.NOT_HELD


def test_very_many_moments_are_drawn_in_part_and_the_page_says_so() -> None:
    moments = [Moment(at, "faults", "x") for at in range(MOMENTS_DRAWN_MAX + 10)]
    assert tags(svg(moments)).found["circle"] == MOMENTS_DRAWN_MAX
    assert f"The first {MOMENTS_DRAWN_MAX:,} of {MOMENTS_DRAWN_MAX + 10:,}" in svg(moments)


def test_the_terminal_shows_verdict_faults_and_the_shortest_history() -> None:
    console = Console(file=io.StringIO(), width=200)
    found = Violation("outputs", "lost", 3, ("a",), ("event a [bold]", "  is owed"))
    summary(console, [outcome(), outcome(found, missed=("late-end",), notes=("the broker says [that]",))])
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("held") == 2
    assert "not held" in text
    assert "event a [bold]" in text
    assert "asked for, and never struck: late-end\n" in text
    assert "the broker says [that]" in text


def test_a_guarantee_forbids_what_it_promises_and_no_more() -> None:
    lost = replace(outcome().history, views=(TopicView("out", (), (), {0: 0}, {0: 0}),), next_offsets={})
    report = judge(lost)
    assert [one.checker for one in forbidden("outputs", report, Guarantee.EXACTLY_ONCE)] == ["lost"]
    assert forbidden("outputs", report, Guarantee.AT_MOST_ONCE) == []
    assert [one.checker for one in forbidden("outputs", report, Guarantee.AT_LEAST_ONCE)] == ["lost"]


def test_a_run_of_nothing_shows_nothing() -> None:
    empty = judge(History(expected=(), views=()))
    assert [one.checker for one in forbidden("outputs", empty, Guarantee.AT_MOST_ONCE)] == ["nothing"]
