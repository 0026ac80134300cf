"""A failure of librdkafka as one of our error classes.

Owns: the translation of ``KafkaException``, and two failures that say more than their class. Must not know: who called
what, and why.
"""

from __future__ import annotations

from typing import Final

from confluent_kafka import KafkaError, KafkaException

from tallystick.errors import AbortableError, FencedError
from tallystick.pipeline.error_classes import Failure, Operation, classify

REQUEST_TIMEOUT_S: Final = 10.0
"""How long one call waits for the broker's answer before it is called again."""


def failure_of(error: KafkaError) -> Failure:
    """A ``KafkaError`` as plain values."""
    return Failure(
        code=error.code(),
        name=error.name(),
        text=error.str(),
        fatal=error.fatal(),
        retriable=error.retriable(),
        requires_abort=error.txn_requires_abort(),
    )


def translate(exception: KafkaException, operation: Operation, subject: str) -> Exception:
    """The error to raise instead; ``subject`` names the topic, group or transactional id."""
    failure = failure_of(exception.args[0])
    kind = classify(failure, operation)
    return kind(f"{operation.value} of {subject}: {failure.name}: {failure.text}")


class OutputRefused(AbortableError):
    """Kafka does not take a record whatever is done (too large, invalid): the input that made it is to blame."""


class MemberFenced(FencedError):
    """The group knows another member under this ``group.instance.id``.

    That is another process, or we ourselves: a join of ours whose answer was lost with its connection.
    """
