"""Rule 15: an EndTxn that is late must not end the next transaction, and one without an answer is settled.

librdkafka speaks transaction version 1: it sends a held-up EndTxn again on a new connection, gets its success, and the
first one, when it arrives at last, looks to the coordinator like the end of whatever is open then.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import Final

import pytest
from tests.support.brokers import Cluster, Names
from tests.support.clients import WAIT_S, eventually, make_topic, read_all
from tests.support.pipeline import RunningLoop, put, read_until, values

from tallystick.pipeline import Emit, Record
from tallystick.verify.proxy import Proxy

END_TXN: Final = 26


@pytest.mark.parametrize("lanes", [1, 2])
def test_a_late_end_of_one_transaction_does_not_end_the_next(kafka: Cluster, names: Names, lanes: int) -> None:
    source = make_topic(kafka.bootstrap, names("in"))
    target = make_topic(kafka.bootstrap, names("out"))
    group = names("late")
    gate, inside = threading.Event(), threading.Event()

    def handler(record: Record) -> list[Emit]:
        if record.value == b"second":
            inside.set()
            gate.wait(WAIT_S)
        return [Emit(target, b"k", record.value or b"")]

    with Proxy(kafka.bootstrap) as proxy:
        end = proxy.hold(END_TXN)
        # The producer alone is behind the proxy: the group keeps its connections.
        with RunningLoop(
            kafka.bootstrap, group, source, handler, producer_config={"bootstrap.servers": proxy.bootstrap}, lanes=lanes
        ) as running:
            put(kafka.bootstrap, source, [b"first"])
            end.wait_caught(WAIT_S)
            proxy.cut()
            put(kafka.bootstrap, source, [b"second"])
            assert inside.wait(WAIT_S)  # the second transaction is open
            end.release()
            end.wait_answered(WAIT_S)
            assert read_all(kafka.bootstrap, target) == [b"first"]
            gate.set()
            messages = read_until(kafka.bootstrap, target, lambda found: len(found) >= 2)
    assert running.raised is None
    assert Counter(values(messages)) == Counter([b"first", b"second"])
    assert sum(running.loop.counters.producers_discarded.values()) >= 1


@pytest.mark.parametrize("cuts", [1, 3])
def test_an_end_without_an_answer_is_settled_once(kafka: Cluster, names: Names, cuts: int) -> None:
    source = make_topic(kafka.bootstrap, names("in"))
    target = make_topic(kafka.bootstrap, names("out"))
    with (
        Proxy(kafka.bootstrap) as proxy,
        RunningLoop(
            kafka.bootstrap,
            names("cut"),
            source,
            lambda record: Emit(target, b"k", record.value),
            producer_config={"bootstrap.servers": proxy.bootstrap},
        ) as running,
    ):
        expected = []
        for number in range(cuts):
            end = proxy.hold(END_TXN)
            expected.append(b"%d" % number)
            put(kafka.bootstrap, source, [expected[-1]])
            end.wait_caught(WAIT_S)
            proxy.cut()
            end.release()
            eventually(lambda count=number: running.loop.counters.commits > count or running.ended)  # type: ignore[misc]
        messages = read_until(kafka.bootstrap, target, lambda found: len(found) >= cuts)
    assert running.raised is None
    assert Counter(values(messages)) == Counter(expected)
