"""Kafka Streams with ``exactly_once_v2`` on our broker, over kills of the broker and of the application.

The application counts equal values: from the source over a repartition topic into a state with a changelog, and into
the target, in transactions with offsets. If each is counted once, the counts of a value in the target are 1, 2, 3 and
so on, without a gap and without a repetition, whatever was killed.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest
from confluent_kafka import Message, TopicPartition
from confluent_kafka.admin import OffsetSpec
from tests.support.clients import WAIT_S, consumer, end_offset, eventually, make_topic, producer
from tests.support.foreign import ForeignClient, Program, streams_command

from tallystick.broker import EmbeddedBroker

pytestmark = pytest.mark.timeout(500)

PARTITIONS = 2
WORDS = [f"word-{number}" for number in range(7)]
BETWEEN_KILLS = 5_000
"""Counts that are written before the next kill."""


class Sender:
    """Sends words without end, in a thread of its own, so that every kill comes in the middle of the work."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._client = producer(bootstrap, delivery_timeout_ms=120_000)
        self._topic = topic
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self.sent_each = 0
        self.failures: list[object] = []

    def _send(self) -> None:
        while not self._ended.wait(0.02):
            for _ in range(20):
                for word in WORDS:
                    partition = self.sent_each % PARTITIONS
                    self._client.produce(self._topic, word.encode(), partition=partition, on_delivery=self._delivered)
                self.sent_each += 1
            self._client.poll(0)

    def _delivered(self, error: object, _: Message) -> None:
        if error is not None:
            self.failures.append(error)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        assert self._client.flush(WAIT_S) == 0
        assert self.failures == []


def is_running(program: Program) -> None:
    while program.expect("state")["state"] != "RUNNING":
        pass


def written(bootstrap: str, topic: str) -> int:
    return sum(end_offset(bootstrap, topic, OffsetSpec.latest(), partition=index) for index in range(PARTITIONS))


def until_more_is_written(bootstrap: str, topic: str) -> None:
    goal = written(bootstrap, topic) + BETWEEN_KILLS
    eventually(lambda: written(bootstrap, topic) >= goal, timeout_s=2 * WAIT_S)


def counts(bootstrap: str, topic: str, *, total: int) -> dict[str, list[int]]:
    """The committed counts of each word in their order, once there are ``total``; all that come within the time."""
    found: dict[str, list[int]] = defaultdict(list)
    deadline = time.monotonic() + 2 * WAIT_S
    with consumer(bootstrap, "reader", isolation_level="read_committed") as reader:
        reader.assign([TopicPartition(topic, index, 0) for index in range(PARTITIONS)])
        while sum(map(len, found.values())) < total and time.monotonic() < deadline:
            message = reader.poll(0.2)
            if message is not None and message.error() is None:
                found[(message.key() or b"").decode()].append(int(message.value() or b""))
    return found


def test_every_record_is_counted_once_over_kills_of_the_broker_and_of_the_application(tmp_path: Path) -> None:
    client = ForeignClient("Kafka Streams", streams_command(tmp_path / "classes"))
    with EmbeddedBroker(tmp_path / "data") as broker, ExitStack() as stack:
        bootstrap = broker.bootstrap
        source = make_topic(bootstrap, "words", partitions=PARTITIONS)
        target = make_topic(bootstrap, "counts", partitions=PARTITIONS)
        arguments = (bootstrap, "counter", source, target, tmp_path / "state")

        with Sender(bootstrap, source) as sender:
            with client.start(*arguments) as first:
                is_running(first)
                until_more_is_written(bootstrap, target)
                broker.kill()
                broker.start()
                until_more_is_written(bootstrap, target)
                first.kill()  # its transactions stay open until their timeout
            second = stack.enter_context(client.start(*arguments))
            is_running(second)
            until_more_is_written(bootstrap, target)
        expected = {word: list(range(1, sender.sent_each + 1)) for word in WORDS}
        assert counts(bootstrap, target, total=sender.sent_each * len(WORDS)) == expected
        second.close()
