"""Exactly-once over groups of the consumer protocol (KIP-848), on both brokers: members come, go, die and stand still.

The brokers of these tests end a session after 6 s and want a heartbeat every 300 ms: that is theirs to say here.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from tests.support.brokers import Cluster, Names
from tests.support.clients import eventually, make_topic
from tests.support.pipeline import RunningLoop, SupervisedWorkers, put, read_until, values

from tallystick.errors import ConfigurationError, FatalError
from tallystick.pipeline import Emit, Record

INPUTS = [b'{"n":%d}' % number for number in range(400)]


def pair(kafka: Cluster, names: Names) -> tuple[str, str]:
    return (
        make_topic(kafka.bootstrap, names("in"), partitions=4),
        make_topic(kafka.bootstrap, names("out"), partitions=4),
    )


class Loop(RunningLoop):
    """A loop that copies; its member is dynamic unless ``static`` names it."""

    def __init__(
        self,
        kafka: Cluster,
        group: str,
        topics: tuple[str, str],
        slot: str,
        *,
        lanes: int = 1,
        static: str = "",
        producer_config: dict[str, Any] | None = None,
    ) -> None:
        source, target = topics

        def copy(record: Record) -> Emit:
            return Emit(target, record.key, record.value)

        config = {"group.protocol": "consumer", "group.instance.id": static}
        super().__init__(
            kafka.bootstrap,
            group,
            source,
            copy,
            slot=slot,
            consumer_config=config,
            producer_config=producer_config,
            batch_records=1,
            lanes=lanes,
        )

    @property
    def records_in(self) -> int:
        return self.loop.counters.records_in


@pytest.mark.parametrize("lanes", [1, 3])
def test_members_come_and_go_and_each_input_counts_once(quick_kafka: Cluster, names: Names, lanes: int) -> None:
    topics, group, later = pair(quick_kafka, names), names("members"), iter(INPUTS)

    def write(count: int) -> None:
        put(quick_kafka.bootstrap, topics[0], islice(later, count))

    def they_share() -> bool:
        write(2)
        return two.records_in > 0 and three.records_in > 0

    write(100)
    with Loop(quick_kafka, group, topics, "a", lanes=lanes) as one:
        read_until(quick_kafka.bootstrap, topics[1], lambda found: len(found) >= 20, quiet_s=0)
        with Loop(quick_kafka, group, topics, "b", lanes=lanes) as two:
            with Loop(quick_kafka, group, topics, "c") as three:
                eventually(they_share)
            write(len(INPUTS))
            messages = read_until(
                quick_kafka.bootstrap, topics[1], lambda found: len(set(values(found))) == len(INPUTS)
            )
    assert [loop.raised for loop in (one, two, three)] == [None] * 3
    assert Counter(values(messages)) == Counter(INPUTS)


def test_workers_that_are_killed_or_stand_still_past_their_session_repeat_and_lose_nothing(
    quick_kafka: Cluster, names: Names, tmp_path: Path
) -> None:
    prefix = names("workers")
    for letter in "abc":
        make_topic(quick_kafka.bootstrap, f"{prefix}-{letter}", partitions=3)
    source, target = f"{prefix}-a", f"{prefix}-c"

    def copied(count: int) -> None:
        read_until(quick_kafka.bootstrap, target, lambda found: len(set(values(found))) >= count, quiet_s=0)

    put(quick_kafka.bootstrap, source, INPUTS[:100])
    options = ["--group-protocol", "consumer"]
    with SupervisedWorkers(
        quick_kafka.bootstrap, prefix, tmp_path, workers=3, partitions=3, options=options
    ) as workers:
        copied(100)
        killed, stopped = workers.kill("w-0"), workers.pid("w-1")
        assert stopped is not None
        put(quick_kafka.bootstrap, source, INPUTS[100:200])
        os.kill(stopped, signal.SIGSTOP)
        put(quick_kafka.bootstrap, source, INPUTS[200:300])
        copied(300)  # by those who have the partitions of both, once their sessions are over
        os.kill(stopped, signal.SIGCONT)
        put(quick_kafka.bootstrap, source, INPUTS[300:])
        messages = read_until(quick_kafka.bootstrap, target, lambda found: len(set(values(found))) == len(INPUTS))
        assert workers.pid("w-0") != killed
        assert workers.stop() == 0
    assert Counter(values(messages)) == Counter(INPUTS)


def test_a_static_member_that_ends_and_returns_goes_on_and_a_second_one_is_refused(
    quick_kafka: Cluster, names: Names
) -> None:
    topics, group = pair(quick_kafka, names), names("static")
    put(quick_kafka.bootstrap, topics[0], INPUTS[:50])
    with Loop(quick_kafka, group, topics, "b", static="two") as other:
        eventually(lambda: len(other.loop.counters.positions) == 4)
        with Loop(quick_kafka, group, topics, "a", static="one") as first:
            eventually(lambda: len(first.loop.counters.positions) == 2)
        assignments = other.loop.counters.assignments
        with Loop(quick_kafka, group, topics, "a", static="one") as again:
            put(quick_kafka.bootstrap, topics[0], INPUTS[50:100])
            messages = read_until(quick_kafka.bootstrap, topics[1], lambda found: len(found) >= 100)
            assert other.loop.counters.assignments == assignments
            with Loop(quick_kafka, group, topics, "c", static="one") as refused:
                refused.join()
    assert isinstance(refused.raised, FatalError)
    assert "UNRELEASED_INSTANCE_ID" in str(refused.raised)
    assert (other.raised, again.raised) == (None, None)
    assert Counter(values(messages)) == Counter(INPUTS[:100])


def test_a_transaction_that_may_outlive_the_session_that_the_broker_gives_is_refused(
    quick_kafka: Cluster, names: Names
) -> None:
    topics, group = pair(quick_kafka, names), names("long")
    with Loop(quick_kafka, group, topics, "a", producer_config={"transaction.timeout.ms": 6000}) as refused:
        refused.join()
    assert isinstance(refused.raised, ConfigurationError)
    assert refused.raised.rule == 4
    assert "consumer.session.timeout.ms=6000" in str(refused.raised)
