"""A consumer that belongs to no group: partitions are assigned to it by hand, and it commits nothing.

Owns: ``assigned_consumer``, its settings and their reasons. Must not know: what is read, or up to where.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer

from tallystick.pipeline.kafka_client.logs import client_logger


def assigned_consumer(settings: Mapping[str, Any], name: str) -> Consumer:
    """One that reads what is committed and tells of each partition's end.

    ``settings``: ``bootstrap.servers`` and what security needs. ``name`` is for the log.
    """
    return Consumer(
        {
            **settings,
            "group.id": f"tallystick.{name}",  # never joined
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",  # or records that were deleted would be skipped without a word
            "fetch.wait.max.ms": 50,
            # librdkafka's 1000 stop fetching for a second whenever 100,000 messages wait.
            "fetch.queue.backoff.ms": 5,
            # Brokers that are away come back: who reads decides how long to wait. Without it they end the reading.
            "error_cb": lambda _error: None,
        },
        logger=client_logger(name, lambda _facility, _text: None),
    )
