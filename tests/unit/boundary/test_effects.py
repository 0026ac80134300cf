"""The effect machine, cell by cell: what the table allows happens, everything else raises."""

from __future__ import annotations

import itertools

import pytest

from tallystick.boundary.effects import OPEN_STATES, TERMINAL_STATES, Event, State, sources, transition
from tallystick.errors import IllegalTransition

EXPECTED = {
    "created": {"claim": "claimed"},
    "claimed": {"claim": "claimed", "release": "created", "send": "sent"},
    "sent": {
        "succeed": "succeeded",
        "decline": "declined",
        "require action": "pending_action",
        "lose": "unknown",
        "expire": "unknown",
    },
    "unknown": {"claim": "unknown", "release": "unknown", "send": "sent", "resolve": "resolving"},
    "resolving": {
        "succeed": "succeeded",
        "decline": "declined",
        "require action": "pending_action",
        "confirm absent": "absent_confirmed",
        "lose": "unknown",
        "expire": "unknown",
    },
    "pending_action": {"resolve": "resolving"},
    "succeeded": {},
    "declined": {},
    "absent_confirmed": {},
}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)), ids=lambda cell: cell.value)
def test_every_cell_of_the_table(state: State, event: Event) -> None:
    target = EXPECTED[state.value.lower()].get(event.value)
    if target is None:
        with pytest.raises(IllegalTransition, match=state.value):
            transition(state, event)
        assert state not in sources(event)
    else:
        assert transition(state, event) is State(target.upper())
        assert sources(event)[state] is State(target.upper())


def test_no_terminal_state_has_a_way_out() -> None:
    assert all(not EXPECTED[state.value.lower()] for state in TERMINAL_STATES)
    assert frozenset(State) == OPEN_STATES | TERMINAL_STATES


def test_absence_is_only_confirmed_by_resolving_never_by_an_answer_to_a_send() -> None:
    assert set(sources(Event.CONFIRM_ABSENT)) == {State.RESOLVING}


def test_resolving_never_sends() -> None:
    assert State.RESOLVING not in sources(Event.SEND)
