"""Partitions and offsets, between our values and librdkafka's.

Owns: ``Partition`` and the conversions. Must not know: consumers, producers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confluent_kafka import TopicPartition

from tallystick.pipeline.starts import StoredOffset

Partition = tuple[str, int]
"""Topic name and partition number."""


def positions(offsets: Mapping[Partition, int], notes: Mapping[str, str]) -> list[TopicPartition]:
    return [
        TopicPartition(topic, partition, offset, notes[topic])
        if topic in notes
        else TopicPartition(topic, partition, offset)
        for (topic, partition), offset in offsets.items()
    ]


def stored(answered: Any) -> StoredOffset:
    return StoredOffset(answered.offset if answered.offset >= 0 else None, answered.metadata)
