"""Sending dead letters back to where they came from, each once.

Owns: the transaction around records and receipts. Must not know: how it is asked for.

One transaction writes the records back and their receipts. The transactional id is the topic's, so that two people who
do it at once cannot both succeed: who begins later fences the other, and reads the letters only after that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from tallystick.errors import AbortableError, ConfigurationError
from tallystick.ids import TransactionalId
from tallystick.killpoints import declare, reach
from tallystick.pipeline.dead_letters import DeadLetter, Letters
from tallystick.pipeline.guarantee import Guarantee
from tallystick.pipeline.kafka_client import Producer, read_to_end
from tallystick.pipeline.settings import producer_settings

Fix = Callable[[DeadLetter], bytes | None]
"""The value to send back, from a letter. What it raises stops the run before anything is written."""

_MOST_AT_ONCE: Final = 10_000
_COMMIT_TIMEOUT_MS: Final = 30_000

_BEFORE_COMMIT: Final = declare("dlq.before-commit", "records and receipts are written, their transaction is open")
_AFTER_COMMIT: Final = declare("dlq.after-commit", "the transaction of records and receipts has ended")


def read_letters(settings: Mapping[str, Any], topic: str) -> Letters:
    """The letters of a topic as of now; ``settings`` are librdkafka's."""
    return Letters.of(read_to_end(settings, [topic]))


def as_it_came(letter: DeadLetter) -> bytes | None:
    """The original's value."""
    return letter.record.value


def redrive(
    settings: Mapping[str, Any], topic: str, names: Sequence[str] | None, *, fix: Fix = as_it_came
) -> tuple[DeadLetter, ...]:
    """Send the named open letters back, all open ones for None; returns those that went.

    At most 10,000 at once: call again for more. If it raises, all of them went or none did; the letters that are
    still open say which, once a new call has settled it.
    """
    identity = TransactionalId("tallystick-dlq", topic, "redrive", 0)
    producer = Producer(
        producer_settings(
            {**settings, "transactional.id": str(identity)},
            {"bootstrap.servers": settings.get("bootstrap.servers", "")},
            guarantee=Guarantee.EXACTLY_ONCE,
        )
    )
    try:
        producer.init_transactions()
        letters = read_letters(settings, topic)
        going = (letters.open if names is None else letters.chosen(names))[:_MOST_AT_ONCE]
        if not going:
            return ()
        outputs = []
        for letter in going:
            if letter.topic == topic:
                raise ConfigurationError(f"the letter {letter.place} came from {topic} itself")
            value = fix(letter)
            outputs += [letter.back(value), letter.receipt(changed=value != letter.record.value)]
        producer.begin()
        try:
            producer.produce(outputs)
            producer.flush()
            reach(_BEFORE_COMMIT)
            producer.commit(_COMMIT_TIMEOUT_MS)
            reach(_AFTER_COMMIT)
        except AbortableError:
            producer.abort(_COMMIT_TIMEOUT_MS)
            raise
        return going
    finally:
        producer.discard()
