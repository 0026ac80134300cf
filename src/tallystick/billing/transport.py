"""Sending to and reading whole topics, for what is no pipeline step: ingest, commands, reconciliation.

Owns: an idempotent producer run and a read-committed pass over topics from first to last record. Must not know: what
the records say. Steps never use this: they have transactions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Final

from tallystick.errors import RetriableError
from tallystick.pipeline.kafka_client import Producer, read_to_end
from tallystick.pipeline.records import Output, Record

Setting = str | int | float | bool

_SEND_BATCH: Final = 500
_FLUSH_TRIES: Final = 30


def send(
    bootstrap: str,
    outputs: Iterable[Output],
    *,
    producer_config: Mapping[str, Setting] | None = None,
    on_sent: Callable[[int], None] | None = None,
) -> int:
    """Send records with an idempotent producer and wait until all are acknowledged; returns how many.

    A run that dies and is run again sends records again: their ids say that they are the same. ``on_sent`` is called
    with the number of acknowledged records after each batch. Raises one of the four error classes.
    """
    producer = Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 5, **(producer_config or {}), "enable.idempotence": True}
    )
    count = 0
    source = iter(outputs)
    try:
        while batch := list(islice(source, _SEND_BATCH)):
            count += producer.produce(batch)
            _flush(producer)
            if on_sent is not None:
                on_sent(count)
    finally:
        producer.discard()
    return count


def _flush(producer: Producer) -> None:
    """Wait for acknowledgements for up to five minutes: a broker may be killed and restarted meanwhile."""
    for remaining in reversed(range(_FLUSH_TRIES)):
        try:
            producer.flush()
        except RetriableError:
            if remaining == 0:
                raise
        else:
            return


def read_topics(
    bootstrap: str,
    topics: Sequence[str],
    *,
    consumer_config: Mapping[str, Setting] | None = None,
    timeout_s: float = 120.0,
) -> dict[str, list[Record]]:
    """All committed records of each topic, ordered by partition and offset, as of now.

    Reads ``read_committed``, from the beginning to the last stable offset, outside any group. Raises
    ``RetriableError`` if that takes longer than ``timeout_s``, ``FatalError`` for a topic that does not exist.
    """
    found: dict[str, list[Record]] = {topic: [] for topic in topics}
    settings = {"bootstrap.servers": bootstrap, **(consumer_config or {})}
    for record in read_to_end(settings, topics, timeout_s=timeout_s):
        found[record.topic].append(record)
    for records in found.values():
        records.sort(key=lambda record: (record.partition, record.offset))
    return found
