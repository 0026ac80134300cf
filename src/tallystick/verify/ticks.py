"""The events that every workload reads: made from a seed, so that the oracle knows them without reading them.

Owns: their shape, their ids, their bytes, and sending them. The bytes are made with the standard library, so that the
runtime's own encoding is checked against something else. Must not know: what a workload makes of them.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from confluent_kafka import KafkaError, Message, Producer

from tallystick.errors import TallystickError
from tallystick.ids import EVENT_ID_HEADER, EventId, deterministic_id
from tallystick.verify.oracle import Position

FLUSH_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Tick:
    """One thing to be counted. ``number`` counts from 0 within its account, which is also its key."""

    event: EventId
    account: str
    number: int
    amount_minor: int

    @property
    def key(self) -> bytes:
        return self.account.encode()

    def body(self, **more: str) -> bytes:
        """Compact JSON, with ``more`` in front: the bytes that a workload must write."""
        fields: dict[str, Any] = {
            **more,
            "event": self.event,
            "account": self.account,
            "number": self.number,
            "amount_minor": self.amount_minor,
        }
        return json.dumps(fields, separators=(",", ":")).encode()


def account_name(number: int) -> str:
    """The account of that number."""
    return f"account-{number}"


def account_number(event: str, *, accounts: int) -> int:
    """The account of a tick by its event id, so that whoever meets an id knows its account without a table.

    What follows the first eight digits does not matter: the names of outputs begin with their event's id.
    ``ValueError`` for a text that begins with no such digits.
    """
    return int(event[:8], 16) % accounts


class NotDelivered(TallystickError):
    """An input was not acknowledged, so there is nothing to verify."""


def make_ticks(*, seed: int, count: int, accounts: int) -> tuple[Tick, ...]:
    """``count`` ticks of ``accounts`` accounts. The same arguments give the same ticks, on every machine."""
    return tuple(islice(endless_ticks(seed=seed, accounts=accounts), count))


def endless_ticks(*, seed: int, accounts: int) -> Iterator[Tick]:
    """The same ticks, without an end."""
    chance = random.Random(seed)  # noqa: S311 - repeatable on purpose
    numbers = [0] * accounts
    for at in itertools.count():
        event = deterministic_id("tallystick.verify.tick", seed, at)
        chosen = account_number(event, accounts=accounts)
        yield Tick(
            event=event,
            account=account_name(chosen),
            number=numbers[chosen],
            amount_minor=chance.randrange(1, 10_000),
        )
        numbers[chosen] += 1


def send_ticks(bootstrap: str, topic: str, ticks: Sequence[Tick]) -> dict[EventId, Position]:
    """Send all and return where each one lies. Raises ``NotDelivered`` unless all are acknowledged."""
    positions: dict[EventId, Position] = {}
    failures: list[str] = []

    def delivered_as(event: EventId) -> Any:
        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                failures.append(str(error))
            else:
                positions[event] = Position(topic, int(message.partition() or 0), int(message.offset() or 0))

        return delivered

    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "linger.ms": 20,
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": max(100_000, len(ticks)),
            "log_level": 3,
        }
    )
    for tick in ticks:
        producer.produce(
            topic,
            value=tick.body(),
            key=tick.key,
            headers=[(EVENT_ID_HEADER, tick.event.encode())],
            on_delivery=delivered_as(tick.event),
        )
        producer.poll(0)
    unsent = producer.flush(FLUSH_TIMEOUT_S)
    if unsent or failures or len(positions) != len(ticks):
        raise NotDelivered(f"{len(positions)} of {len(ticks)} ticks are in {topic}: {failures[:1] or 'timed out'}")
    return positions
