"""The cycle's table under every order of events that can happen, and some that cannot."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import IllegalTransition
from tallystick.pipeline.cycle import FINAL_PHASES, OPEN_PHASES, Action, Cycle, Event, Phase

MEMBERSHIP = {Event.ASSIGNED, Event.REVOKED, Event.LOST}
SUCCESS_OF = {
    Action.REINITIALISE: Event.PRODUCER_READY,
    Action.REWIND: Event.REWOUND,
    Action.POLL: Event.POLLED,
    Action.BEGIN: Event.BEGAN,
    Action.PROCESS: Event.PROCESSED,
    Action.PRODUCE: Event.PRODUCED,
    Action.SEND_OFFSETS: Event.OFFSETS_SENT,
    Action.COMMIT: Event.END_REQUESTED,
    Action.AWAIT_END: Event.COMMITTED,
    Action.ABORT: Event.ABORTED,
}
WHOLE_TRANSACTION = [
    Event.BEGAN,
    Event.PROCESSED,
    Event.PRODUCED,
    Event.OFFSETS_SENT,
    Event.END_REQUESTED,
    Event.COMMITTED,
]


def after(*events: Event, start: Cycle | None = None) -> Cycle:
    cycle = start or Cycle()
    for event in events:
        cycle = cycle.after(event)
    return cycle


def ready() -> Cycle:
    return after(Event.PRODUCER_READY, Event.REWOUND, Event.ASSIGNED)


def at(phase: Phase) -> Cycle:
    """The cycle in ``phase``, along the straight way."""
    paths = {
        Phase.UNSETTLED: after(),
        Phase.REWINDING: after(Event.PRODUCER_READY),
        Phase.IDLE: ready(),
        Phase.POLLED: after(Event.POLLED, start=ready()),
        Phase.DOOMED: after(Event.POLLED, Event.BEGAN, Event.FAILED, start=ready()),
        Phase.FENCED: after(Event.FENCED),
        Phase.STOPPED: after(Event.STOPPED),
    }
    for count, open_phase in enumerate(
        (Phase.OPEN, Phase.PROCESSED, Phase.PRODUCED, Phase.OFFSETS_SENT, Phase.ENDING), start=1
    ):
        paths[open_phase] = after(Event.POLLED, *WHOLE_TRANSACTION[:count], start=ready())
    assert paths[phase].phase is phase
    return paths[phase]


def walk(events: list[Event]) -> list[tuple[Cycle, Event, Cycle]]:
    """Apply what the table allows and skip the rest; a refusal must change nothing."""
    cycle, steps = Cycle(), []
    for event in events:
        try:
            following = cycle.after(event)
        except IllegalTransition:
            continue
        steps.append((cycle, event, following))
        cycle = following
    return steps


@st.composite
def likely_events(draw: st.DrawFn) -> list[Event]:
    """Long walks: mostly the action's own success, with anything else thrown in."""
    cycle, events = Cycle(), []
    for _ in range(draw(st.integers(0, 60))):
        success = SUCCESS_OF.get(cycle.action, Event.ASSIGNED)
        event = draw(st.sampled_from([success, success, success, *Event]))
        events.append(event)
        try:
            cycle = cycle.after(event)
        except IllegalTransition:
            continue
    return events


@given(likely_events())
def test_a_commit_is_asked_for_only_under_the_assignment_its_transaction_began_under(events: list[Event]) -> None:
    since_begin: list[Event] = []
    for before, event, _following in walk(events):
        if event is Event.BEGAN:
            since_begin = []
        if event is Event.END_REQUESTED:
            assert before.assigned
            assert not MEMBERSHIP & set(since_begin)
        since_begin.append(event)


@given(likely_events())
def test_a_commit_has_every_step_before_it_exactly_once_and_in_order(events: list[Event]) -> None:
    trail: list[Event] = []
    for _before, event, _following in walk(events):
        trail.append(event)
        if event is Event.COMMITTED:
            own = [one for one in trail if one in WHOLE_TRANSACTION]
            assert own[-len(WHOLE_TRANSACTION) :] == WHOLE_TRANSACTION


@given(likely_events())
def test_after_an_abort_or_a_lost_producer_nothing_is_polled_before_the_rewind(events: list[Event]) -> None:
    owed = True  # at the start too: nobody knows what the predecessor left
    for _before, event, _following in walk(events):
        if event in {Event.ABORTED, Event.PRODUCER_LOST}:
            owed = True
        if event is Event.REWOUND:
            owed = False
        assert not (owed and event in {Event.POLLED, Event.BEGAN})


@given(likely_events())
def test_the_assignment_epoch_never_goes_back_and_moves_with_every_change_of_the_assignment(
    events: list[Event],
) -> None:
    for before, event, following in walk(events):
        assert following.epoch == before.epoch + (event in MEMBERSHIP)


@given(likely_events())
def test_nothing_begins_without_partitions_or_while_a_revocation_waits(events: list[Event]) -> None:
    for before, event, _following in walk(events):
        if event is Event.POLLED:
            assert before.assigned
            assert not before.draining


@given(likely_events())
def test_a_transaction_epoch_is_known_exactly_while_a_transaction_may_be_open(events: list[Event]) -> None:
    for _before, _event, following in walk(events):
        held = following.phase in OPEN_PHASES | {Phase.ENDING, Phase.DOOMED}
        assert (following.transaction_epoch is not None) == held


@pytest.mark.parametrize("phase", sorted(FINAL_PHASES, key=str))
@pytest.mark.parametrize("event", list(Event))
def test_the_end_is_the_end(phase: Phase, event: Event) -> None:
    with pytest.raises(IllegalTransition):
        at(phase).after(event)


@pytest.mark.parametrize("phase", sorted(OPEN_PHASES, key=str))
@pytest.mark.parametrize("event", sorted(MEMBERSHIP, key=str))
def test_a_changed_assignment_leaves_an_open_transaction_only_the_abort(phase: Phase, event: Event) -> None:
    doomed = at(phase).after(event)
    assert doomed.action is Action.ABORT
    for way_out in (Event.END_REQUESTED, Event.COMMITTED, Event.PRODUCED, Event.OFFSETS_SENT):
        with pytest.raises(IllegalTransition):
            doomed.after(way_out)


@pytest.mark.parametrize("phase", sorted(OPEN_PHASES, key=str))
def test_a_revocation_that_waits_lets_the_open_transaction_commit(phase: Phase) -> None:
    cycle = at(phase).after(Event.REVOKING)
    while cycle.action is not Action.WAIT:
        cycle = cycle.after(SUCCESS_OF[cycle.action])
    assert cycle.phase is Phase.IDLE
    assert cycle.after(Event.REVOKED).action is Action.WAIT


def test_a_batch_that_has_no_transaction_yet_is_dropped_when_a_revocation_waits() -> None:
    cycle = at(Phase.POLLED).after(Event.REVOKING)
    assert cycle.action is Action.REWIND
    assert cycle.after(Event.REWOUND).action is Action.WAIT


def test_an_end_that_is_asked_for_is_answered_before_anything_else() -> None:
    ending = at(Phase.ENDING)
    for event in MEMBERSHIP:
        assert ending.after(event).phase is Phase.ENDING
    with pytest.raises(IllegalTransition):
        ending.after(Event.STOPPED)


@pytest.mark.parametrize("phase", sorted(set(Phase) - FINAL_PHASES, key=str))
def test_an_unknown_outcome_leads_to_a_new_producer_and_a_rewind(phase: Phase) -> None:
    unsettled = at(phase).after(Event.PRODUCER_LOST)
    assert unsettled.action is Action.REINITIALISE
    assert unsettled.after(Event.PRODUCER_READY).action is Action.REWIND


@pytest.mark.parametrize("phase", sorted(OPEN_PHASES | {Phase.DOOMED}, key=str))
def test_a_worker_does_not_stop_with_a_transaction_open(phase: Phase) -> None:
    with pytest.raises(IllegalTransition):
        at(phase).after(Event.STOPPED)


@pytest.mark.parametrize("phase", list(Phase))
def test_every_phase_says_what_is_to_be_done_and_the_table_has_its_success(phase: Phase) -> None:
    cycle = at(phase)
    success = SUCCESS_OF.get(cycle.action)
    assert (success is None) == (phase in FINAL_PHASES)
    if success is not None:
        cycle.after(success)
