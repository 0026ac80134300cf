"""Questions to a cluster whose coordinators move while it is asked."""

from __future__ import annotations

import pytest
from tests.support.clients import make_topic

from tallystick.broker import EmbeddedBroker
from tallystick.broker.faults import AnswerError, Fault, Match
from tallystick.clock import SystemClock
from tallystick.pipeline.kafka_client import Cluster
from tallystick.pipeline.patience import Patience
from tallystick.stopping import StopFlag


@pytest.mark.parametrize("moved", ["NOT_COORDINATOR", "COORDINATOR_NOT_AVAILABLE", "COORDINATOR_LOAD_IN_PROGRESS"])
def test_offsets_are_found_although_the_coordinator_moved(moved: str) -> None:
    with EmbeddedBroker() as broker:
        make_topic(broker.bootstrap, "in", partitions=2)
        broker.faults.add(Fault(AnswerError(moved), on=Match(api="offset_fetch"), times=2, name="moved"))
        cluster = Cluster({"bootstrap.servers": broker.bootstrap})
        patience = Patience(SystemClock(), StopFlag(), limit_ms=20_000)
        found = patience.call("offsets", lambda: cluster.group_offsets("group", [("in", 0), ("in", 1)]))
        assert {place: one.offset for place, one in found.items()} == {("in", 0): None, ("in", 1): None}
        assert len(broker.faults.injected) == 2


def test_a_session_timeout_that_one_may_not_look_at_is_not_known() -> None:
    with EmbeddedBroker(settings={"group.consumer.session.timeout.ms": "50000"}) as broker:
        cluster = Cluster({"bootstrap.servers": broker.bootstrap})
        assert cluster.session_timeout_ms("group") == 50_000
        refusal = AnswerError("GROUP_AUTHORIZATION_FAILED")
        broker.faults.add(Fault(refusal, on=Match(api="describe_configs"), name="no right"))
        assert cluster.session_timeout_ms("group") is None
