"""An effect says what makes a repetition harmless, or it is refused: here, and by the type checker.

Each ``type: ignore`` below is a line that mypy refuses: it warns about one that it does not need.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.unit.pipeline.fakes import Copy, record

from tallystick.errors import ConfigurationError
from tallystick.pipeline import App, ExactlyOnceLoop, Guarantee, Idempotent, Output, Record, UnsafeApp


class Undeclared:
    closed = False

    def process(self, records: Sequence[Record]) -> Sequence[Sequence[Output]]:
        return [[] for _ in records]

    def close(self) -> None:
        self.closed = True


class Letter(Undeclared):
    unsafe = "the customer gets the letter twice"


class Contradiction(Letter):
    idempotent = Idempotent.BY_KEY


def test_an_effect_that_declares_nothing_is_refused() -> None:
    app = App("shop")
    with pytest.raises(ConfigurationError, match=r"does not say what happens.*rule 25.*idempotent ="):
        app.add("a", ["source"], Undeclared())  # type: ignore[arg-type]
    assert app.steps == ()


def test_an_unsafe_effect_is_refused_by_exactly_once_with_what_it_does() -> None:
    with pytest.raises(ConfigurationError, match=r"gets the letter twice.*rule 25.*UnsafeApp"):
        App("shop").add("a", ["source"], Letter())  # type: ignore[arg-type]


def test_an_effect_that_declares_both_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"idempotent and unsafe.*rule 25"):
        App("shop").add("a", ["source"], Contradiction())
    with pytest.raises(ConfigurationError, match=r"declares itself idempotent.*rule 25"):
        UnsafeApp("shop", guarantee=Guarantee.AT_LEAST_ONCE).add_unsafe("a", ["source"], Contradiction())


def test_what_a_factory_makes_is_refused_before_it_gets_a_record_and_closed() -> None:
    made: list[Undeclared] = []

    def factory() -> Undeclared:
        made.append(Undeclared())
        return made[-1]

    app = App("shop")
    app.add("a", ["source"], factory=factory)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="rule 25"):
        app.steps[0].factory()
    assert [each.closed for each in made] == [True]


def test_a_loop_of_ones_own_refuses_it_too() -> None:
    settings = {"bootstrap.servers": "b:1", "group.id": "g", "group.instance.id": "g-0"}
    with pytest.raises(ConfigurationError, match="rule 25"):
        ExactlyOnceLoop(settings, {"transactional.id": "t"}, ["source"], processor=Letter())  # type: ignore[arg-type]


@pytest.mark.parametrize("guarantee", [Guarantee.AT_LEAST_ONCE, Guarantee.AT_MOST_ONCE])
def test_an_unsafe_effect_runs_where_the_application_says_that_it_may_repeat_or_lose(guarantee: Guarantee) -> None:
    app = UnsafeApp("shop", guarantee=guarantee)  # type: ignore[arg-type]  # a variable could be exactly-once
    app.add_unsafe("letters", ["source"], factory=Letter)
    app.add("copy", ["source"], Copy())
    assert [list(step.factory().process([record(0)])) != [] for step in app.steps] == [True, True]


def test_an_application_is_not_unsafe_and_exactly_once() -> None:
    with pytest.raises(ConfigurationError, match=r"takes no unsafe effects.*rule 25"):
        UnsafeApp("shop", guarantee=Guarantee.EXACTLY_ONCE)  # type: ignore[arg-type]
    assert not hasattr(App("shop", guarantee=Guarantee.EXACTLY_ONCE), "add_unsafe")


def test_a_reason_is_needed_for_what_is_unsafe() -> None:
    app = UnsafeApp("shop", guarantee=Guarantee.AT_LEAST_ONCE)
    with pytest.raises(ConfigurationError, match="does not say what a repetition does"):
        app.add_unsafe("a", ["source"], Undeclared())  # type: ignore[arg-type]
