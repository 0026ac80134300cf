"""Producers of one transactional id in any order of steps, both versions mixed: both brokers do as one model says.

``tests/unit/broker/transactions/test_against_model.py`` plays the same with time, full disks and crashes, on ours.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.brokers import Cluster, unique_name
from tests.support.clients import eventually, make_topic
from tests.support.transaction_model import TransactionalId
from tests.support.transaction_players import PARTITIONS, Players
from tests.support.wire import WireClient
from tests.support.wire_producer import find_coordinator

players = st.integers(0, 5)
steps = st.one_of(
    st.tuples(st.just("start"), st.sampled_from([1, 2])),
    st.tuples(st.just("reinitialise"), players),
    st.tuples(st.just("repeat_initialisation"), players),
    st.tuples(st.just("write"), players, st.integers(0, PARTITIONS - 1)),
    st.tuples(st.just("write"), players, st.integers(0, PARTITIONS - 1)),
    st.tuples(st.just("commit_offset"), players, st.integers(0, 9)),
    st.tuples(st.just("end"), players, st.booleans()),
    st.tuples(st.just("end"), players, st.booleans()),
    st.tuples(st.just("end_late"), players, st.booleans()),
)


def take(played: Players, step: Any) -> None:
    match step:
        case ("start", version):
            played.start(version)
        case ("end" | "end_late" as name, who, commit):
            getattr(played, name)(played.player(who), commit=commit)
        case (name, who, *rest):
            getattr(played, name)(played.player(who), *rest)


def is_prepared(client: WireClient, transactional_id: str) -> bool:
    """Apache Kafka answers EndTxn before it writes the markers, and takes late records until they are there."""
    answer = client.ask(
        "list_transactions",
        1,
        state_filters=("PrepareCommit", "PrepareAbort"),
        producer_id_filters=(),
        duration_filter=-1,
    )
    return transactional_id in {row.transactional_id for row in answer.transaction_states}


@given(version=st.sampled_from([1, 2]), script=st.lists(steps, min_size=5, max_size=25))
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_order_of_steps_is_answered_as_the_model_says(kafka: Cluster, version: int, script: list[Any]) -> None:
    topic = make_topic(kafka.bootstrap, unique_name("model"), partitions=PARTITIONS)
    with WireClient(kafka.bootstrap) as client:
        find_coordinator(client, topic, key_type=0)
        find_coordinator(client, topic, key_type=1)
        played = Players(client, topic, topic, group=topic, model=TransactionalId(strict=kafka.name == "embedded"))
        for step in [("start", version), *script]:
            take(played, step)
            eventually(lambda: not is_prepared(client, topic))
        played.check_visible()
