"""Which fault strikes which request: counts, draws by the seed, and the text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.broker.faults import AnswerError, Cut, Delay, DropResponse, Fault, FaultPlan, Match
from tallystick.broker.faults.subject import Subject
from tallystick.errors import ConfigurationError

APIS = ("produce", "end_txn", "fetch")
CLIENTS = ("a", "b", None)


def about(api: str = "end_txn", client_id: str | None = "a", *topics: str) -> Subject:
    return Subject(api=api, client_id=client_id, topics=frozenset(topics))


def struck(plan: FaultPlan, count: int, subject: Subject | None = None) -> list[int]:
    """Which of ``count`` requests, from 1, meet a fault."""
    return [number for number in range(1, count + 1) if plan.choose(subject or about()) is not None]


requests = st.lists(st.builds(about, st.sampled_from(APIS), st.sampled_from(CLIENTS)), max_size=60)
matches = st.builds(Match, api=st.none() | st.sampled_from(APIS), client_id=st.none() | st.sampled_from(["a", "b"]))
faults = st.lists(
    st.builds(
        Fault,
        st.sampled_from([Cut(), DropResponse(), Delay(1), AnswerError("NOT_COORDINATOR")]),
        on=matches,
        nth=st.integers(1, 4),
        times=st.none() | st.integers(1, 5),
        probability=st.sampled_from([0.2, 0.5, 1.0]),
    ),
    max_size=4,
    unique_by=lambda fault: fault.label,
)


@given(faults=faults, seed=st.integers(0, 2**32), subjects=requests)
def test_the_same_seed_and_the_same_requests_give_the_same_faults(
    faults: list[Fault], seed: int, subjects: list[Subject]
) -> None:
    one, other = FaultPlan(faults, seed=seed), FaultPlan(faults, seed=seed)
    assert [one.choose(subject) for subject in subjects] == [other.choose(subject) for subject in subjects]
    assert str(one) == str(other)


@given(faults=faults, seed=st.integers(0, 2**32), subjects=requests, at=st.integers(0, 60))
def test_a_plan_goes_on_from_its_state_as_if_nothing_had_been(
    faults: list[Fault], seed: int, subjects: list[Subject], at: int
) -> None:
    whole, first, second = FaultPlan(faults, seed=seed), FaultPlan(faults, seed=seed), FaultPlan()
    expected = [whole.choose(subject) for subject in subjects]
    before = [first.choose(subject) for subject in subjects[:at]]
    second.restore(first.state())
    assert before + [second.choose(subject) for subject in subjects[at:]] == expected
    assert second.state() == whole.state()


@given(seed=st.integers(0, 2**32), own=st.lists(st.booleans(), max_size=80))
def test_what_other_clients_do_in_between_does_not_change_a_draw(seed: int, own: list[bool]) -> None:
    fault = Fault(Cut(), times=None, probability=0.3)
    alone, among = FaultPlan([fault], seed=seed), FaultPlan([fault], seed=seed)
    mixed = []
    for is_own in own:
        strike = among.choose(about(client_id="a" if is_own else "b"))
        if is_own:
            mixed.append(strike is not None)
    assert mixed == [alone.choose(about()) is not None for is_own in own if is_own]


@given(faults=faults, subjects=requests)
def test_a_fault_strikes_no_more_often_than_it_may_and_not_before_its_turn(
    faults: list[Fault], subjects: list[Subject]
) -> None:
    plan = FaultPlan(faults, seed=1)
    strikes = [strike for subject in subjects if (strike := plan.choose(subject))]
    for fault in faults:
        own = [strike.number for strike in strikes if strike.fault == fault]
        assert fault.times is None or len(own) <= fault.times
        assert all(number >= fault.nth for number in own)


def test_by_default_only_the_next_request_is_struck() -> None:
    assert struck(FaultPlan([Fault(Cut())]), 3) == [1]


def test_nth_and_times_count_the_matching_requests() -> None:
    plan = FaultPlan([Fault(Cut(), on=Match(api="end_txn"), nth=2, times=2)])
    assert plan.choose(about("produce")) is None
    assert struck(plan, 5) == [2, 3]
    assert plan.is_spent


def test_a_probability_strikes_about_that_share_and_another_seed_other_requests() -> None:
    fault = Fault(Cut(), times=None, probability=0.25)
    one, other = (struck(FaultPlan([fault], seed=seed), 4_000) for seed in (1, 2))
    assert 900 < len(one) < 1_100
    assert one != other


def test_two_clients_meet_their_faults_at_different_requests() -> None:
    plan = FaultPlan([Fault(Cut(), times=None, probability=0.5)], seed=3)
    outcomes = {client: [plan.choose(about(client_id=client)) is not None for _ in range(64)] for client in ("a", "b")}
    assert outcomes["a"] != outcomes["b"]


def test_the_first_fault_that_would_strike_does_and_the_others_count() -> None:
    plan = FaultPlan([Fault(Cut(), nth=2), Fault(Delay(5), nth=1, times=2)])
    actions = [strike.fault.action if (strike := plan.choose(about())) else None for _ in range(4)]
    assert actions == [Delay(5), Cut(), Delay(5), None]


def test_a_fault_of_the_same_name_is_refused_until_the_first_is_spent() -> None:
    plan = FaultPlan([Fault(Cut())])
    with pytest.raises(ConfigurationError, match="already"):
        plan.add(Fault(Delay(1)), Fault(Cut()))
    assert [fault.action for fault in plan] == [Cut()]
    assert struck(plan, 2) == [1]
    plan.add(Fault(Cut()))
    assert struck(plan, 2) == [1]


def test_a_plan_is_told_in_words() -> None:
    plan = FaultPlan(
        [
            Fault(DropResponse(), on=Match(api="end_txn", transactional_id="shop-*"), nth=2),
            Fault(Delay(20, "after"), times=None, probability=0.1, name="slow network"),
        ],
        seed=7,
    )
    plan.choose(about("fetch"))
    assert str(plan).splitlines() == [
        "faults, seed 7:",
        "1. drop the response, on api=end_txn transactional_id=shop-*, from number 2 on",
        "2. delay by 20 ms after, on every request, one in 10, always (slow network): 0 of 1",
    ]
    assert str(FaultPlan()) == "faults, seed 0:\nnone"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: Fault(Cut(), nth=0), "number 1"),
        (lambda: Fault(Cut(), times=0), "times=0"),
        (lambda: Fault(Cut(), probability=1.5), "probability"),
        (lambda: Fault(Cut("later")), "before, after"),  # type: ignore[arg-type]
        (lambda: Fault(Delay(0)), "above 0"),
        (lambda: Match(api="endtxn"), "Did you mean 'end_txn'"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused_where_it_is_written(wrong: object, said: str) -> None:
    assert callable(wrong)
    with pytest.raises(ConfigurationError, match=said):
        wrong()
