"""Real librdkafka consumers of the consumer group protocol, with frequent heartbeats, through a real broker process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from tests.support.clients import assigned, make_topic, member, poll_until, producer, send

from tallystick.broker import EmbeddedBroker

QUICK = {"group.consumer.min.heartbeat.interval.ms": "200", "group.consumer.heartbeat.interval.ms": "200"}
ALL = list(range(6))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(tmp_path / "data", settings=QUICK) as running:
        yield running


class Reader:
    """Reads, commits what it has read when it must give a partition up, and keeps what it read."""

    def __init__(self, consumer: Consumer, topic: str, read: list[tuple[int, int]]) -> None:
        self.consumer = consumer
        self._read = read
        self._next: dict[int, int] = {}
        consumer.subscribe([topic], on_revoke=self._give_up)

    def _give_up(self, consumer: Consumer, parts: list[TopicPartition]) -> None:
        done = [
            TopicPartition(part.topic, part.partition, self._next.pop(part.partition))
            for part in parts
            if part.partition in self._next
        ]
        if done:
            consumer.commit(offsets=done, asynchronous=False)

    def poll(self, timeout: float) -> None:
        message = self.consumer.poll(timeout)
        if message is not None and message.error() is None:
            place = (int(message.partition() or 0), int(message.offset() or 0))
            self._read.append(place)
            self._next[place[0]] = place[1] + 1


def poll_all(readers: list[Reader], condition: Callable[[], bool]) -> None:
    def polled() -> bool:
        for reader in readers:
            reader.poll(0.02)
        return condition()

    poll_until([], polled)


def everybody_has(readers: list[Reader], share: int) -> bool:
    return all(len(assigned(reader.consumer)) >= share for reader in readers)


def test_members_that_come_and_go_read_every_record_once(broker: EmbeddedBroker) -> None:
    topic = make_topic(broker.bootstrap, "t", partitions=6)
    sender = producer(broker.bootstrap)
    read: list[tuple[int, int]] = []
    sent = 0

    def write(count: int) -> None:
        nonlocal sent
        for partition in ALL:
            send(sender, topic, [b"x"] * count, partition=partition)
        sent += count

    with ExitStack() as staying:
        readers = [Reader(staying.enter_context(member(broker.bootstrap, "g")), topic, read)]
        for _ in range(3):
            with member(broker.bootstrap, "g") as passing:
                every = [*readers, Reader(passing, topic, read)]
                write(20)
                poll_all(every, partial(everybody_has, every, len(ALL) // len(every)))
                write(20)
                poll_all(every, lambda: len(read) >= sent * len(ALL))
            if len(readers) == 1:
                readers.append(Reader(staying.enter_context(member(broker.bootstrap, "g")), topic, read))
        poll_all(readers, lambda: sorted(p for one in readers for p in assigned(one.consumer)) == ALL)
    assert sorted(read) == [(partition, offset) for partition in ALL for offset in range(sent)]


def test_members_go_on_over_a_kill_without_losing_their_partitions(broker: EmbeddedBroker) -> None:
    topic = make_topic(broker.bootstrap, "t", partitions=6)
    with member(broker.bootstrap, "g") as one, member(broker.bootstrap, "g") as two:
        lost: list[str] = []
        for consumer in (one, two):
            consumer.subscribe([topic], on_lost=lambda *_: lost.append("lost"))
        poll_until([one, two], lambda: sorted(assigned(one) + assigned(two)) == ALL and len(assigned(one)) == 3)
        before = assigned(one), assigned(two)
        broker.kill()
        broker.start()
        for partition in ALL:
            send(producer(broker.bootstrap), topic, [b"after"], partition=partition)
        seen: set[int] = set()

        def all_seen() -> bool:
            for consumer in (one, two):
                message = consumer.poll(0.05)
                if message is not None and message.error() is None:
                    seen.add(int(message.partition() or 0))
            return seen == set(ALL)

        poll_until([], all_seen)
        assert (assigned(one), assigned(two)) == before
        assert lost == []
