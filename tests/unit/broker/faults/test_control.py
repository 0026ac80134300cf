"""Setting faults on a broker in a child: over the channel, before it runs, over its kill, and wrongly."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest
from tests.support.wire import WireClient

from tallystick.broker import EmbeddedBroker, LocalBroker
from tallystick.broker.embedded import BrokerDidNotStart
from tallystick.broker.faults import AnswerError, Cut, Delay, Fault, FaultPlan, Match
from tallystick.errors import ConfigurationError

LIST_GROUPS = Match(api="list_groups")


def answers(broker: LocalBroker, count: int) -> list[str]:
    """The error of each of so many requests, ``cut`` for none."""
    found = []
    for _ in range(count):
        with WireClient(broker.bootstrap) as client:
            try:
                found.append(str(client.ask("list_groups", 0).error_code.name))
            except (AssertionError, ConnectionError):
                found.append("cut")
    return found


def test_a_plan_that_a_broker_begins_with_is_in_force_at_its_first_request(tmp_path: Path) -> None:
    plan = FaultPlan([Fault(Cut(), on=LIST_GROUPS)])
    with EmbeddedBroker(tmp_path / "data", faults=plan) as broker:
        assert answers(broker, 2) == ["cut", "none"]


def test_the_journal_says_what_was_injected_in_order(broker: LocalBroker) -> None:
    broker.faults.add(Fault(AnswerError("COORDINATOR_LOAD_IN_PROGRESS"), on=LIST_GROUPS, nth=2, name="loading"))
    assert answers(broker, 3) == ["none", "coordinator_load_in_progress", "none"]
    assert [str(entry) for entry in broker.faults.injected] == [
        "loading: answer COORDINATOR_LOAD_IN_PROGRESS before: list_groups number 2 of wire"
    ]
    assert str(broker.faults).endswith("(loading): 1 of 2")


def test_cleared_faults_strike_no_more_and_are_forgotten(broker: LocalBroker) -> None:
    broker.faults.add(Fault(Cut(), on=LIST_GROUPS, times=None))
    assert answers(broker, 1) == ["cut"]
    broker.faults.clear()
    assert answers(broker, 1) == ["none"]
    assert broker.faults.injected == ()
    assert list(broker.faults) == []


def test_faults_and_their_counts_outlive_a_kill_and_may_be_set_while_no_broker_runs(
    own_broker: LocalBroker,
) -> None:
    own_broker.faults.add(Fault(Cut(), on=LIST_GROUPS, nth=3))
    assert answers(own_broker, 2) == ["none", "none"]
    own_broker.kill()
    own_broker.faults.add(Fault(Delay(1), on=LIST_GROUPS))
    own_broker.start()
    assert answers(own_broker, 2) == ["cut", "none"]
    assert [entry.action for entry in own_broker.faults.injected] == [
        "cut the connection before",
        "delay by 1 ms before",
    ]


def test_the_same_seed_gives_a_restarted_session_the_same_faults(tmp_path: Path) -> None:
    outcomes = []
    for run in range(2):
        plan = FaultPlan([Fault(Cut(), on=LIST_GROUPS, times=None, probability=0.5)], seed=11)
        with EmbeddedBroker(tmp_path / str(run), faults=plan) as broker:
            outcomes.append((answers(broker, 20), broker.faults.injected))
    assert outcomes[0] == outcomes[1]
    assert {"cut", "none"} == set(outcomes[0][0])


def test_an_error_that_kafka_does_not_have_is_refused_with_the_nearest(broker: LocalBroker, tmp_path: Path) -> None:
    wrong = Fault(AnswerError("NOT_CORDINATOR"))
    with pytest.raises(ConfigurationError, match="Did you mean NOT_COORDINATOR"):
        broker.faults.add(Fault(Cut(), on=LIST_GROUPS), wrong)
    assert list(broker.faults) == []
    with pytest.raises(BrokerDidNotStart, match="Did you mean NOT_COORDINATOR"):
        EmbeddedBroker(tmp_path / "data", faults=FaultPlan([wrong])).start()


def test_what_concerns_a_running_broker_needs_one(own_broker: LocalBroker) -> None:
    own_broker.stop()
    for act in (own_broker.faults.pause, own_broker.faults.fill_disk, own_broker.faults.skew_clock):
        with pytest.raises(ConfigurationError, match="does not run"):
            act()
    own_broker.faults.resume()


def test_waiting_for_a_fault_in_vain_says_what_is_set(broker: LocalBroker) -> None:
    fault = Fault(Cut(), on=LIST_GROUPS)
    broker.faults.add(fault)
    with pytest.raises(TimeoutError, match="api=list_groups"):
        broker.faults.wait_for(fault, timeout_s=0.01)


def test_a_paused_broker_ends_when_it_is_told_to(own_broker: LocalBroker) -> None:
    own_broker.faults.pause()
    with WireClient(own_broker.bootstrap) as client:
        client.set_timeout(0.1)
        with contextlib.suppress(TimeoutError):
            client.ask("list_groups", 0)
        own_broker.stop()
    own_broker.start()
    assert own_broker.recovery["clean"] is True
    assert answers(own_broker, 1) == ["none"]


def test_a_broker_that_somebody_else_killed_is_started_again(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path / "data") as broker:
        os.kill(broker.pid, signal.SIGKILL)
        assert broker.wait(20) == -signal.SIGKILL
        assert not broker.is_running
        broker.start()
        assert answers(broker, 1) == ["none"]
