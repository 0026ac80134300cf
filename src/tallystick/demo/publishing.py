"""Sends records to Kafka with an idempotent producer, and counts what was acknowledged.

Owns: one producer. Must not know: what the records mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from tallystick.errors import FatalError, RetriableError
from tallystick.ids import EVENT_ID_HEADER
from tallystick.pipeline.records import Output

DELIVERY_TIMEOUT_MS: Final = 120_000
"""Long enough for a broker that is killed and started again meanwhile; librdkafka re-sends, the broker dedupes."""

MAX_IN_QUEUE: Final = 1_000


def publish(bootstrap: str, outputs: Iterable[Output], *, acknowledged: Callable[[int], None]) -> int:
    """Send all ``outputs`` in order and wait until each is acknowledged; returns how many.

    ``acknowledged`` is called with the running count. Raises ``RetriableError`` if one was not delivered within
    ``DELIVERY_TIMEOUT_MS``, and ``FatalError`` if the producer itself failed.
    """
    from confluent_kafka import KafkaError, KafkaException, Producer

    fatal: list[str] = []
    failed: list[str] = []
    done = 0

    def on_error(error: KafkaError) -> None:
        if error.fatal():
            fatal.append(str(error))

    def delivered(error: KafkaError | None, _message: object) -> None:
        nonlocal done
        if error is not None:
            failed.append(str(error))
            return
        done += 1
        acknowledged(done)

    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 5,
            "delivery.timeout.ms": DELIVERY_TIMEOUT_MS,
            "reconnect.backoff.max.ms": 500,
            "error_cb": on_error,
            "log_level": 0,  # a broker that is away is said by whoever took it away
        }
    )
    total = 0
    for output in outputs:
        while len(producer) >= MAX_IN_QUEUE and not fatal and not failed:
            producer.poll(0.1)
        if fatal or failed:
            break
        try:
            producer.produce(
                output.topic,
                key=output.key,
                value=output.value,
                headers=[*output.headers, (EVENT_ID_HEADER, output.event_id.encode("ascii"))],
                on_delivery=delivered,
            )
        except KafkaException as error:
            raise FatalError(f"the producer refused a record for {output.topic}: {error}") from error
        total += 1
        producer.poll(0)
    left = producer.flush(DELIVERY_TIMEOUT_MS / 1000 + 5)
    if fatal:
        raise FatalError(f"the producer failed: {fatal[0]}")
    if failed or left:
        raise RetriableError(f"{len(failed) + left} records were not delivered: {failed[0] if failed else 'timeout'}")
    return total
