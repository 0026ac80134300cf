"""The logs of topics, for a capsule: byte for byte, with a limit.

``kafka-dump-log`` reads such a file, and so does ``tallystick.wire``. Owns: how much is taken. Must not know: what is
in a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from tallystick.operate.client_settings import ClientSettings
from tallystick.operate.cluster import Cluster, TopicPartition
from tallystick.operate.logs import batches

BYTES_MAX: Final = 32 * 1024 * 1024
"""Of each partition: what lies behind it is left out, and the capsule says so."""


def segments(settings: ClientSettings, topics: Iterable[str]) -> Iterator[tuple[TopicPartition, bytes, bool]]:
    """Of each partition its batches, and whether these are all."""
    with Cluster(settings) as cluster:
        for topic in cluster.topics(topics).values():
            for place in topic.partitions:
                yield place, *_log(cluster, place)


def _log(cluster: Cluster, place: TopicPartition) -> tuple[bytes, bool]:
    log = bytearray()
    for _, batch in batches(cluster, place):
        if len(log) + len(batch) > BYTES_MAX:
            return bytes(log), False
        log += batch
    return bytes(log), True
