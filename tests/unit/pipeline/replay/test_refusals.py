"""What a replay refuses before it reads anything, and what it does not write unless a person has decided so."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.pipeline.fakes import Copy, record

from tallystick.errors import ConfigurationError
from tallystick.pipeline import App, Table, Topic
from tallystick.pipeline.records import Output
from tallystick.pipeline.replay.findings import Counts, Finding, Verdict
from tallystick.pipeline.replay.obstacles import Obstacles
from tallystick.pipeline.replay.replaying import Reader, chosen, readers

SOURCE, TARGET = Topic("in", bytes), Topic("out", bytes)
DAY_MS = 86_400_000
NOW_MS = 1_000 * DAY_MS
KEPT = {"cleanup.policy": "delete", "retention.ms": str(7 * DAY_MS), "message.timestamp.type": "CreateTime"}


def with_steps(*names: str) -> App:
    app = App("shop")
    for name in names:
        app.step(source=SOURCE, name=name)(lambda _event, _context: None)
    return app


def joining() -> App:
    app = App("shop")
    app.join(left=SOURCE, right=TARGET, within=timedelta(days=1), name="rate")(lambda _left, _right, _context: None)
    return app


def with_a_table() -> App:
    app = App("shop")
    table = Table("names", TARGET, key=str)
    app.step(source=SOURCE, name="rate", tables=[table])(lambda _event, _context: None)
    return app


def with_effect() -> App:
    app = App("shop")
    app.add("rate", [SOURCE], Copy())
    return app


@pytest.mark.parametrize(
    ("app", "name", "said"),
    [
        (with_steps("a", "b"), None, r"several steps.*\['a', 'b'\]"),
        (with_steps("a"), "c", r"no step 'c'"),
        (with_steps(), None, "no step"),
        (joining(), None, "keeps state and reads.*Replay the step before it"),
        (with_a_table(), None, "keeps state and reads"),
        (with_effect(), None, "effects outside Kafka.*Replay the step before it"),
    ],
)
def test_a_step_that_cannot_be_replayed_is_refused_with_what_to_do(app: App, name: str | None, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        chosen(app, name)


def test_functions_of_every_kind_can_be_replayed() -> None:
    app = with_steps("one")

    @app.step(source=SOURCE)
    async def waiting(event: bytes, context: Any) -> None: ...

    @app.batch(source=SOURCE)
    def many(events: list[bytes], context: Any) -> Sequence[None]:
        return [None for _ in events]

    assert [chosen(app, name).name for name in ("one", "waiting", "many")] == ["one", "waiting", "many"]


def test_the_steps_that_would_see_what_is_written_are_named_with_what_they_may_do() -> None:
    app = with_steps("rate")
    app.step(source=TARGET, name="report")(lambda _event, _context: None)
    app.add("book", [TARGET, Topic("other", bytes)], Copy())
    counts = Counts()
    for verdict in (Verdict.CHANGED, Verdict.CHANGED, Verdict.NEW, Verdict.SAME):
        counts.add(finding(verdict))
    assert list(readers(app, counts)) == [Reader("report", "out", 3, False), Reader("book", "out", 3, True)]
    assert list(readers(app, Counts())) == []


def finding(verdict: Verdict, *, age_ms: int = DAY_MS) -> Finding:
    one = record(1)
    made = (
        None
        if verdict in {Verdict.GONE, Verdict.FAILED}
        else Output("out", None, b"", one.event_id, timestamp_ms=NOW_MS - age_ms)
    )
    return Finding(verdict, one, one.event_id, made)


def obstacles(*findings: Finding, begins: int = 0, **settings: str) -> Obstacles:
    found = Obstacles()
    for one in findings:
        found.look_at(one)
    topic = {**KEPT, **{name.replace("_", "."): value for name, value in settings.items()}}
    found.look_at_topics({("out", 0): (begins, 9)}, {"out": topic}, now_ms=NOW_MS)
    return found


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (obstacles(finding(Verdict.SAME, age_ms=900 * DAY_MS)), None),
        (obstacles(finding(Verdict.CHANGED), finding(Verdict.NEW), finding(Verdict.GONE)), None),
        (obstacles(finding(Verdict.CHANGED), begins=5), None),
        (obstacles(finding(Verdict.NEW), begins=5), "gaps"),
        (obstacles(finding(Verdict.CHANGED), cleanup_policy="compact"), "gaps"),
        (obstacles(finding(Verdict.FAILED), finding(Verdict.SAME)), "failures"),
        (obstacles(finding(Verdict.CHANGED, age_ms=8 * DAY_MS)), "retention"),
        (obstacles(finding(Verdict.CHANGED, age_ms=8 * DAY_MS), retention_ms="-1"), None),
        (obstacles(finding(Verdict.CHANGED, age_ms=8 * DAY_MS), message_timestamp_type="LogAppendTime"), None),
    ],
)
def test_what_stands_in_the_way_of_writing(found: Obstacles, kind: str | None) -> None:
    assert list(found.found) == ([] if kind is None else [kind])
    if kind is None:
        found.raise_unless(frozenset())
        return
    with pytest.raises(ConfigurationError, match="nothing was written"):
        found.raise_unless(frozenset())


def test_failures_and_gaps_may_be_overruled_and_a_retention_may_not() -> None:
    obstacles(finding(Verdict.FAILED)).raise_unless(frozenset({"failures"}))
    obstacles(finding(Verdict.NEW), begins=5).raise_unless(frozenset({"gaps"}))
    with pytest.raises(ConfigurationError):
        obstacles(finding(Verdict.FAILED), finding(Verdict.NEW), begins=5).raise_unless(frozenset({"gaps"}))
    with pytest.raises(ConfigurationError):
        obstacles(finding(Verdict.NEW, age_ms=8 * DAY_MS)).raise_unless(frozenset({"retention"}))
