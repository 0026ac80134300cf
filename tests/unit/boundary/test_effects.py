"""The effect machine, cell by cell: what the table allows happens, everything else raises."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, strategies

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


EVENTS = strategies.lists(strategies.sampled_from(Event), max_size=40)


@given(EVENTS)
def test_no_walk_through_the_table_leaves_it_or_comes_back_from_an_end(events: list[Event]) -> None:
    state, walked = State.CREATED, [State.CREATED]
    for event in events:
        if state in sources(event):
            state = transition(state, event)
            walked.append(state)
        else:
            with pytest.raises(IllegalTransition):
                transition(state, event)
    ended = [index for index, each in enumerate(walked) if each in TERMINAL_STATES]
    assert ended in ([], [len(walked) - 1]), "an end is the last state there is"
    if state in TERMINAL_STATES:
        assert State.SENT in walked, "nothing ends that was never sent"
    if state is State.ABSENT_CONFIRMED:
        assert walked[-2] is State.RESOLVING, "absence is only ever read from a listing"


@given(EVENTS)
def test_after_sent_no_walk_leads_back_to_what_was_never_sent(events: list[Event]) -> None:
    state, sent = State.CREATED, False
    for event in events:
        if state in sources(event):
            state = transition(state, event)
            sent = sent or state is State.SENT
            assert not (sent and state in (State.CREATED, State.CLAIMED))


def test_every_open_state_can_come_to_each_end() -> None:
    for start in OPEN_STATES:
        reached, new = {start}, {start}
        while new:
            new = {target for state in new for event in Event if (target := sources(event).get(state))} - reached
            reached |= new
        assert reached >= TERMINAL_STATES, start
