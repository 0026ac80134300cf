"""The injector begins what is due, lets nothing that touches the same overlap, and heals at the end."""

from __future__ import annotations

from typing import Any

from tallystick.verify.faults.fault import Draw, Fault, Steps, World
from tallystick.verify.faults.injector import Injector
from tallystick.verify.faults.specs import Strike
from tallystick.verify.timeline import Timeline


class Breaks(Fault):
    """Breaks something for two seconds, and writes down what it does."""

    meaning = "for a test"

    def __init__(self, name: str, touches: str, log: list[str]) -> None:
        self.name, self.touches, self.log = name, touches, log  # type: ignore[misc]

    def strike(self, world: World, draw: Draw) -> Steps:
        self.log.append(f"{self.name} breaks {draw.argument}".strip())
        try:
            yield 2.0
        finally:
            self.log.append(f"{self.name} heals")


def injector(strikes: list[Strike], *touches: str) -> tuple[Injector, list[str]]:
    log: list[str] = []
    nothing: Any = None
    world = World(workers=nothing, crowd=nothing, timeline=Timeline(), session_timeout_s=1)
    faults: dict[str, Fault] = {f"f{number}": Breaks(f"f{number}", what, log) for number, what in enumerate(touches)}
    return Injector(strikes, faults, world, seed=1), log


def test_a_fault_begins_when_it_is_due_and_heals_when_its_time_is_over() -> None:
    made, log = injector([Strike(1.0, "f0", "x")], "network")
    made.step(0.9)
    assert log == []
    made.step(1.0)
    assert log == ["f0 breaks x"]
    assert made.active == ("f0",)
    made.step(2.9)
    assert made.active == ("f0",)
    made.step(3.0)
    assert log == ["f0 breaks x", "f0 heals"]
    assert len(made.active) == 0


def test_two_faults_of_one_thing_never_overlap_and_two_of_different_ones_do() -> None:
    made, log = injector([Strike(1.0, "f0"), Strike(1.0, "f1"), Strike(1.0, "f2")], "broker", "broker", "network")
    made.step(1.0)
    assert log == ["f0 breaks", "f2 breaks"]
    made.step(3.0)
    made.step(3.1)
    assert log == ["f0 breaks", "f2 breaks", "f0 heals", "f2 heals", "f1 breaks"]


def test_what_is_due_and_has_to_wait_is_late_until_it_has_struck_once() -> None:
    made, _ = injector([Strike(1.0, "f0"), Strike(1.0, "f1"), Strike(1.5, "f0")], "broker", "broker")
    assert len(made.late) == 0
    made.step(1.5)
    assert list(made.late) == ["f1"], "the second f0 waits as well, and is not owed: f0 has struck"
    made.step(3.5)
    assert (list(made.active), list(made.late)) == ([], ["f1"])
    made.step(3.6)
    assert (list(made.active), list(made.late)) == (["f1"], [])


def test_the_end_heals_what_is_broken_and_begins_nothing_more() -> None:
    made, log = injector([Strike(1.0, "f0"), Strike(1.0, "f1"), Strike(9.0, "f0")], "broker", "broker")
    made.step(1.0)
    made.heal()
    made.step(20.0)
    assert log == ["f0 breaks", "f0 heals"]
    assert made.struck == {"f0": 1}


def test_what_was_broken_is_on_the_timeline_with_its_length() -> None:
    made, _ = injector([Strike(0.0, "f0", "x")], "network")
    made.step(0.0)
    made.step(2.0)
    (moment,) = made.world.timeline.moments()
    assert (moment.lane, moment.text) == ("faults", "f0:x")
    assert moment.until_ms is not None
