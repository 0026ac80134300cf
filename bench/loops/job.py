"""The work that each loop does: JSON events in four partitions are read, changed, and written out, exactly-once.

Owns: the event, the input topic, and how a rate is taken. Must not know: who does the work.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec
from bench.speed.site import BATCHED, PARTITIONS, Site, client, flush
from confluent_kafka import Producer

WARM_UP: Final = 0.1
"""Of the records: they are moved before the clock starts."""

QUICK: Final = {"linger.ms": 0, "retry.backoff.ms": 5}
"""For small transactions: librdkafka's defaults wait where there is nothing to wait for."""


class Event(msgspec.Struct):
    user: str
    amount_minor: int
    currency: str
    merchant: str
    at_ms: int


class RatedEvent(Event):
    fee_minor: int


def rated(event: Event) -> RatedEvent:
    return RatedEvent(
        event.user, event.amount_minor, event.currency, event.merchant, event.at_ms, event.amount_minor // 100
    )


@dataclass(slots=True)
class Job:
    """``records`` of ``source``, in transactions of ``batch_records``, to ``target``."""

    bootstrap: str
    source: str
    target: str
    records: int
    batch_records: int
    name: str = field(default_factory=lambda: f"bench-{uuid.uuid4()}")
    _marks: list[tuple[int, float, float]] = field(default_factory=list)

    @property
    def producer_settings(self) -> dict[str, object]:
        return {"linger.ms": 5, "batch.size": 1_000_000} if self.batch_records > 1_000 else dict(QUICK)

    def committed(self, records: int, processor_s: Callable[[], float] = time.process_time) -> bool:
        """Say how many are committed so far; whether these are all. ``processor_s`` is what the loop's process used."""
        if records >= WARM_UP * self.records and (not self._marks or records > self._marks[-1][0]):
            self._marks.append((records, time.perf_counter(), processor_s()))
        return records >= self.records

    @property
    def records_per_s(self) -> float:
        (first, began, _), (last, ended, _) = self._marks[0], self._marks[-1]
        return (last - first) / (ended - began)

    @property
    def processor_us(self) -> float:
        """What a record costs the loop's process, with the client's threads, in microseconds of processor time."""
        (first, _, before), (last, _, after) = self._marks[0], self._marks[-1]
        return (after - before) * 1e6 / (last - first)


def event(number: int, users: int = 10_000) -> Event:
    return Event(f"user-{number % users:05}", number % 90_000, "EUR", f"merchant-{number % 500}", 1_700_000_000_000)


def write(producer: Producer, topic: str, records: int, *, partitions: int = PARTITIONS, users: int = 10_000) -> None:
    """So many events, in turn into the partitions; until all are acknowledged."""
    encode = msgspec.json.Encoder().encode
    for number in range(records):
        one = event(number, users)
        while True:
            try:
                producer.produce(topic, encode(one), one.user.encode(), partition=number % partitions)
            except BufferError:
                producer.poll(0.05)
            else:
                break
    flush(producer)


def fill(site: Site, records: int, users: int = 10_000) -> str:
    """A new topic with so many events of so many users."""
    topic = site.make_topic()
    write(Producer(client(site.bootstrap) | BATCHED), topic, records, users=users)
    return topic
