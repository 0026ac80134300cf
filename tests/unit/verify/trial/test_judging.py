"""A history that is judged part by part gives the verdict of the whole, with one part in memory at a time."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tallystick.pipeline import Guarantee
from tallystick.verify.oracle import Expected, History, Position, Seen, TopicView, judge, merged
from tallystick.verify.ticks import account_number, make_ticks
from tallystick.verify.trial.feed import Places
from tallystick.verify.trial.judging import judged, united
from tallystick.verify.trial.outcome import Violation
from tallystick.verify.trial.shelf import BLOCK_RECORDS, PARTS, Shelf, part_of
from tallystick.verify.trial.sightings import Sightings, views_of

ACCOUNTS = 5
TICKS = make_ticks(seed=3, count=300, accounts=ACCOUNTS)
NEXT = {("in", 0): len(TICKS)}


def expected() -> tuple[Expected, ...]:
    return tuple(
        Expected(
            "out", f"{tick.event}/0", tick.key, group=tick.event, sequence=tick.number, source=Position("in", 0, at)
        )
        for at, tick in enumerate(TICKS)
    )


def flawless() -> list[Seen]:
    return [Seen(Position("out", 0, at), tick.key, f"{tick.event}/0", "") for at, tick in enumerate(TICKS)]


def lost(seen: list[Seen], at: int) -> list[Seen]:
    return seen[:at] + seen[at + 1 :]


def repeated(seen: list[Seen], at: int) -> list[Seen]:
    return [*seen, replace(seen[at], position=Position("out", 0, len(TICKS) + at))]


def renamed(seen: list[Seen], at: int) -> list[Seen]:
    return [*seen[:at], replace(seen[at], identity="a stranger"), *seen[at + 1 :]]


def with_another_key(seen: list[Seen], at: int) -> list[Seen]:
    return [*seen[:at], replace(seen[at], key=b"account-none"), *seen[at + 1 :]]


def behind_its_successor(seen: list[Seen], at: int) -> list[Seen]:
    return [*seen[:at], replace(seen[at], position=Position("out", 0, len(TICKS) + at)), *seen[at + 1 :]]


def history(seen: list[Seen], *, parts: set[int] | None = None, ends: bool = True) -> History:
    """Of the parts that are named, or of all."""

    def wanted(identity: str) -> bool:
        return parts is None or part_of(identity, accounts=ACCOUNTS) in parts

    (view,) = views_of(("out",), *[[one for one in seen if wanted(one.identity)]] * 2)
    (earlier,) = views_of(("out",), *[[one for one in flawless() if wanted(one.identity)]] * 2)
    high = {0: 1_000} if ends else {}
    return History(
        expected=tuple(one for one in expected() if wanted(one.identity)),
        views=(replace(view, last_stable_offsets={0: 999}, high_watermarks=high),),
        earlier=(earlier,),
        next_offsets=NEXT,
    )


def in_parts(seen: list[Seen]) -> tuple[History, Callable[[int], History]]:
    return history([], parts=set()), lambda number: history(seen, parts={number}, ends=False)


@pytest.mark.parametrize("broken", [lost, repeated, renamed, with_another_key, behind_its_successor])
def test_the_parts_have_the_findings_of_the_whole(broken: Callable[[list[Seen], int], list[Seen]]) -> None:
    chance = random.Random(7)
    seen = flawless()
    for at in sorted(chance.sample(range(len(TICKS) - 50), 9), reverse=True):
        seen = broken(seen, at)
    whole, part = in_parts(seen)
    told: list[int] = []

    def witness(found: Violation, _: History, number: int) -> Violation:
        told.append(number)
        return replace(found, witness=("told",))

    found = judged("outputs", whole, range(PARTS), part, guarantee=Guarantee.EXACTLY_ONCE, witness=witness)
    at_once = judge(history(seen))
    assert {one.checker: one.count for one in found.report.findings} == {
        one.checker: one.count for one in at_once.findings
    }
    assert (found.report.expected, found.report.seen, found.report.right) == (
        at_once.expected,
        at_once.seen,
        at_once.right,
    )
    assert found.report.count("open") == 1, "the end of a topic is asked of the whole, once"
    assert found.violations
    assert {one.checker for one in found.violations} == {one.checker for one in at_once.findings if one.count}
    assert told
    again = judge(found.evidence)
    assert {one.checker: one.count for one in again.findings} == {one.checker: one.count for one in at_once.findings}


def test_a_guarantee_that_allows_a_loss_keeps_no_evidence_of_it() -> None:
    whole, part = in_parts(lost(flawless(), 4))

    def witness(found: Violation, _: History, __: int) -> Violation:
        raise AssertionError(found)

    def unwatched(number: int) -> History:
        return replace(part(number), earlier=())

    whole = replace(whole, earlier=(), views=(replace(whole.views[0], high_watermarks={}),))
    found = judged("outputs", whole, range(PARTS), unwatched, guarantee=Guarantee.AT_MOST_ONCE, witness=witness)
    assert found.report.lost == 1
    assert found.evidence.expected == ()


def test_all_events_of_an_account_are_in_one_part_and_so_is_everything_that_is_named_after_them() -> None:
    for tick in TICKS:
        number = account_number(tick.event, accounts=ACCOUNTS)
        assert tick.account == f"account-{number}"
        assert part_of(tick.event, accounts=ACCOUNTS) == part_of(f"{tick.event}/2", accounts=ACCOUNTS) == number
    assert part_of("canary/1/2", accounts=ACCOUNTS) == part_of("canary/1/2", accounts=ACCOUNTS) < PARTS


def test_a_shelf_gives_each_part_back_in_its_order(tmp_path: Path) -> None:
    with Shelf(tuple[int, str], tmp_path) as shelf:
        for number in range(3 * BLOCK_RECORDS):
            shelf.put(number % 2, (number, str(number)))
        assert shelf.count == 3 * BLOCK_RECORDS
        for part in (1, 0, 1):
            assert list(shelf.part(part)) == [(number, str(number)) for number in range(part, 3 * BLOCK_RECORDS, 2)]
        assert list(shelf.part(2)) == []


def test_a_reader_s_records_come_back_as_they_were_seen_with_the_time_of_the_first_sight(tmp_path: Path) -> None:
    sightings = Sightings(tmp_path, accounts=ACCOUNTS)
    records = flawless()
    for at_ms, record in enumerate((*records, *records)):
        sightings.note(record, at_ms)
    back = [record for part in range(PARTS) for record in sightings.part(part)]
    assert sorted(back, key=lambda one: one.position) == [one for record in records for one in (record, record)]
    first = {position: at for part in range(PARTS) for position, at in sightings.first_seen(part).items()}
    assert first == {record.position: at_ms for at_ms, record in enumerate(records)}
    sightings.close()


def test_a_place_is_known_once_its_tick_is_acknowledged() -> None:
    places = Places("in")
    places.add()
    places.add()
    places.put(1, 3, 0)
    assert [places.position(0), places.position(1)] == [None, Position("in", 3, 0)]
    assert places.count == 1


def test_parts_are_united_under_what_the_whole_knows() -> None:
    whole, part = in_parts(flawless())
    assert united(whole, [part(number) for number in range(PARTS)]).views == (
        TopicView("out", tuple(flawless()), tuple(flawless()), {0: 999}, {0: 1_000}),
    )


def test_reports_are_merged_into_one_of_all() -> None:
    with pytest.raises(ValueError, match="no report"):
        merged([])
