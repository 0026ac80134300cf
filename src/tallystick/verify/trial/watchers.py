"""Those who look on while a trial runs: a committed reader, an uncommitted one, and an auditor of offsets.

Owns: what they saw, and when. Must not know: what should be there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from tallystick.verify.oracle import StableSample
from tallystick.verify.oracle.read import PASSING_ERRORS, Identify, plain_consumer, seen_of
from tallystick.verify.timeline import Timeline
from tallystick.verify.trial.sightings import Sightings
from tallystick.verify.watch import GroupWatch

_BATCH_RECORDS: Final = 1_000
_POLL_S: Final = 0.2
_AUDIT_EVERY_S: Final = 1.0
_ANSWER_S: Final = 3.0
SAMPLES_MAX: Final = 500_000
_PARTITION_EOF: Final = KafkaError._PARTITION_EOF  # noqa: SLF001 - the client's public name for it


class LiveReader(threading.Thread):
    """Reads topics from the beginning under one isolation level, and notes each record and the time of its sight."""

    def __init__(
        self,
        client: Mapping[str, str],
        isolation: str,
        topics: Sequence[str],
        *,
        partitions: int,
        identify: Identify,
        timeline: Timeline,
        sightings: Sightings,
    ) -> None:
        super().__init__(name=f"verify-{isolation}", daemon=True)
        self._consumer = plain_consumer({**client, "log_level": "0"}, isolation)
        self._places = [TopicPartition(topic, number, 0) for topic in topics for number in range(partitions)]
        self._identify = identify
        self._timeline = timeline
        self._stopping = threading.Event()
        self._sightings = sightings
        self.errors: list[str] = []
        self.raised: BaseException | None = None

    def run(self) -> None:
        try:
            self._consumer.assign(self._places)
            while not self._stopping.is_set():
                self._take()
        except BaseException as error:  # noqa: BLE001  # the thread's edge: kept, and told at the end
            self.raised = error
        finally:
            self._consumer.close()

    def _take(self) -> None:
        for message in self._consumer.consume(_BATCH_RECORDS, timeout=_POLL_S):
            error = message.error()
            if error is None:
                self._sightings.note(seen_of(message, self._identify), self._timeline.now_ms())
            elif error.code() != _PARTITION_EOF and error.code() not in PASSING_ERRORS:
                self.errors.append(str(error))
                self._stopping.wait(_POLL_S)

    def finish(self) -> None:
        self._stopping.set()
        self.join(30)


class Auditor(threading.Thread):
    """Asks, about each second, how far the group is and where the last stable offsets stand."""

    def __init__(self, watch: GroupWatch, timeline: Timeline) -> None:
        super().__init__(name="verify-auditor", daemon=True)
        self._watch = watch
        self._timeline = timeline
        self._stopping = threading.Event()
        self.samples: list[StableSample] = []
        self.remaining: int | None = None
        self.remaining_at_s = 0.0

    def run(self) -> None:
        while not self._stopping.wait(_AUDIT_EVERY_S):
            try:
                self._look()
            except KafkaException:
                continue  # no broker answers just now; the gap between samples tells

    def _look(self) -> None:
        at_ms = self._timeline.now_ms()
        ends = self._watch.ends(timeout_s=_ANSWER_S)
        if len(self.samples) < SAMPLES_MAX:
            self.samples += [StableSample(at_ms, *end) for end in ends]
        began_s = time.monotonic()
        self.remaining = self._watch.remaining()
        self.remaining_at_s = began_s

    def finish(self) -> None:
        self._stopping.set()
        self.join(60)


class GroupCrowd:
    """Members that join the group of the workers and do nothing: a storm of rebalances."""

    MEMBERS_MAX: Final = 8

    def __init__(
        self, client: Mapping[str, str], group: str, topics: Sequence[str], *, session_timeout_ms: int
    ) -> None:
        self._settings: dict[str, str | int | bool] = {
            **client,
            "group.id": group,
            "session.timeout.ms": session_timeout_ms,
            "partition.assignment.strategy": "range",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "log_level": 0,
        }
        self._topics = list(topics)
        self._members: list[tuple[threading.Event, threading.Thread]] = []

    def join(self) -> None:
        if len(self._members) < self.MEMBERS_MAX:
            leaving = threading.Event()
            member = threading.Thread(target=self._stay, args=(leaving,), daemon=True)
            self._members.append((leaving, member))
            member.start()

    def _stay(self, leaving: threading.Event) -> None:
        from confluent_kafka import Consumer

        consumer = Consumer(self._settings)
        consumer.subscribe(self._topics)
        try:
            while not leaving.is_set():
                consumer.poll(0.1)  # takes its share, and whatever it polls is never committed
        finally:
            consumer.close()

    def leave_all(self) -> None:
        members, self._members = self._members, []
        for leaving, _ in members:
            leaving.set()
        for _, member in members:
            member.join(30)
