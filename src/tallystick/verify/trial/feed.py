"""The producers of a trial: known events at a steady rate, and transactions that are aborted on purpose.

Owns: what was acknowledged, and where it lies. Must not know: who reads it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from tallystick.ids import EVENT_ID_HEADER
from tallystick.verify.oracle import Position
from tallystick.verify.ticks import Tick

_TURN_S: Final = 0.02
_ABORT_EVERY_S: Final = 0.5
_TIMEOUT_S: Final = 10.0
_UNBOUNDED: Final = 0
_NOWHERE: Final = -1
CANARY: Final = "canary"


class Places:
    """Where the ticks of a feed lie in one topic, by their number in the feed: ten bytes for each."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._partitions = array("h")
        self._offsets = array("q")
        self.count = 0

    def add(self) -> None:
        """One more tick, which is not acknowledged yet."""
        self._partitions.append(0)
        self._offsets.append(_NOWHERE)

    def put(self, number: int, partition: int, offset: int) -> None:
        self.count += self._offsets[number] == _NOWHERE
        self._partitions[number], self._offsets[number] = partition, offset

    def position(self, number: int) -> Position | None:
        """None for a tick that was not acknowledged."""
        offset = self._offsets[number]
        return None if offset == _NOWHERE else Position(self._topic, self._partitions[number], offset)


class Feed(threading.Thread):
    """Sends ``ticks`` to each of ``topics`` at ``rate_per_s`` until ``finish``. It is idempotent and never gives up.

    A tick has one timestamp in all of them, a millisecond after that of the one before it.
    """

    def __init__(
        self, client: Mapping[str, str], topics: Sequence[str], ticks: Iterator[Tick], *, rate_per_s: int
    ) -> None:
        super().__init__(name="verify-feed", daemon=True)
        self._producer = Producer(
            {
                **client,
                "enable.idempotence": True,
                "message.timeout.ms": _UNBOUNDED,
                "linger.ms": 20,
                "partitioner": "murmur2_random",
                "socket.timeout.ms": 5_000,
                "reconnect.backoff.max.ms": 1_000,
                "metadata.recovery.strategy": "none",
                "log_level": 0,
            }
        )
        self._topics = tuple(topics)
        self._began_ms = time.time_ns() // 1_000_000
        self._ticks = ticks
        self._rate_per_s = rate_per_s
        self._stopping = threading.Event()
        self.sent = 0
        self.placed = {topic: Places(topic) for topic in topics}
        self.failures: list[str] = []
        self.raised: BaseException | None = None

    def run(self) -> None:
        try:
            self._send()
        except BaseException as error:  # noqa: BLE001  # the thread's edge: kept, and told by finish
            self.raised = error

    def _send(self) -> None:
        began = time.monotonic()
        while not self._stopping.wait(_TURN_S):
            due = int((time.monotonic() - began) * self._rate_per_s) - self.sent
            for tick in itertools.islice(self._ticks, max(0, min(due, self._rate_per_s))):
                self._produce(tick)
            self._producer.poll(0)

    @property
    def places(self) -> Places:
        """Where the ticks lie in the first topic."""
        return self.placed[self._topics[0]]

    def _produce(self, tick: Tick) -> None:
        number = self.sent
        for places in self.placed.values():
            places.add()
        self.sent += 1
        for topic in self._topics:
            self._produce_to(topic, tick, number)

    def _produce_to(self, topic: str, tick: Tick, number: int) -> None:
        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self.failures.append(f"{tick.event}: {error}")
            else:
                self.placed[topic].put(number, int(message.partition() or 0), int(message.offset() or 0))

        while True:
            try:
                self._producer.produce(
                    topic,
                    value=tick.body(),
                    key=tick.key,
                    headers=[(EVENT_ID_HEADER, tick.event.encode())],
                    timestamp=self._began_ms + number,
                    on_delivery=delivered,
                )
            except BufferError:  # the broker has been away for long
                self._producer.poll(0.1)
            else:
                return

    def finish(self, timeout_s: float) -> list[str]:
        """Stop, and wait until all is acknowledged; what was not, in words."""
        self._stopping.set()
        self.join(timeout_s)
        unsent = self._producer.flush(timeout_s)
        problems = list(self.failures[:3])
        if self.raised is not None:
            problems.append(f"the producer failed: {self.raised!r}")
        acknowledged = min(places.count for places in self.placed.values())
        if unsent or acknowledged != self.sent:
            problems.append(f"only {acknowledged} of {self.sent} events were acknowledged within the time")
        return problems


class Aborter(threading.Thread):
    """Writes records to the sinks in transactions that it always aborts: nobody may ever see one of them."""

    def __init__(self, client: Mapping[str, str], sinks: Sequence[str], *, partitions: int, name: str) -> None:
        super().__init__(name="verify-aborter", daemon=True)
        self._settings: dict[str, Any] = {
            **client,
            "transactional.id": f"{name}-{CANARY}",
            "transaction.timeout.ms": 6_000,
            "message.timeout.ms": 5_000,
            "socket.timeout.ms": 5_000,
            "metadata.recovery.strategy": "none",
            "log_level": 0,
        }
        self._places = [(sink, partition) for sink in sinks for partition in range(partitions)]
        self._stopping = threading.Event()
        self.aborted: set[Position] = set()

    def run(self) -> None:
        producer: Producer | None = None
        for number in itertools.count():
            if self._stopping.wait(_ABORT_EVERY_S):
                break
            try:
                if producer is None:
                    producer = Producer(self._settings)
                    producer.init_transactions(_TIMEOUT_S)
                self._one(producer, number)
            except KafkaException:  # whatever it was: nothing was committed, and the next producer aborts the rest
                producer = None
        if producer is not None:
            with contextlib.suppress(KafkaException):
                producer.flush(1.0)

    def _one(self, producer: Producer, number: int) -> None:
        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is None:
                topic, partition, offset = message.topic(), message.partition(), message.offset()
                self.aborted.add(Position(str(topic), int(partition or 0), int(offset or 0)))

        producer.begin_transaction()
        for sink, partition in self._places:
            name = f"{CANARY}/{number}/{partition}"
            body = json.dumps({"identity": name, "event": name}).encode()
            producer.produce(sink, value=body, key=CANARY.encode(), partition=partition, on_delivery=delivered)
        producer.flush(_TIMEOUT_S)
        producer.abort_transaction(_TIMEOUT_S)

    def finish(self) -> None:
        """Stop; an open transaction is aborted by its timeout."""
        self._stopping.set()
        self.join(4 * _TIMEOUT_S)
