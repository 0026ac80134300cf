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
    """An answer about one partition.

    librdkafka copies the text beside an offset without its end, and confluent-kafka reads on to the next zero byte
    (librdkafka #4649). librdkafka's own commits have that byte in their text; of those of other clients, Kafka's and
    ours among them, anything may follow, and bytes that are no text are where it begins at the latest.
    """
    if answered.offset < 0:
        return StoredOffset(None)
    try:
        text = answered.metadata
    except UnicodeDecodeError as error:
        text = error.object[: error.start].decode()
    return StoredOffset(answered.offset, text)
