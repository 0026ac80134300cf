"""The log of a topic as its batches lie there: byte for byte, as a Fetch gives them.

``kafka-dump-log`` reads such a file, and so does ``tallystick.wire``. Owns: fetching them, and how much of them. Must
not know: what is in a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any, Final

from tallystick.operate.client_settings import ClientSettings
from tallystick.operate.cluster import Cluster, TopicPartition, check
from tallystick.operate.connection import Connection, Versions

FETCH: Final = Versions("fetch", 4, 11)
"""By topic name; later versions name topics by id."""
BYTES_MAX: Final = 32 * 1024 * 1024
"""Of each partition: what lies behind it is left out, and the capsule says so."""
_STEP_BYTES: Final = 1024 * 1024
_HEAD_BYTES: Final = 61
"""A batch is at least as long as its header."""


def segments(settings: ClientSettings, topics: Iterable[str]) -> Iterator[tuple[TopicPartition, bytes, bool]]:
    """Of each partition its batches, and whether these are all."""
    with Cluster(settings) as cluster:
        found = cluster.topics(topics)
        for topic in found.values():
            for connection, places in cluster.by_leader(topic.partitions):
                for place in places:
                    yield place, *_log(connection, place)


def _log(connection: Connection, place: TopicPartition) -> tuple[bytes, bool]:
    log = bytearray()
    offset = 0
    while len(log) < BYTES_MAX:
        part = _fetch(connection, place, offset)
        whole = _whole(bytes(part.records or b""))
        if not whole:
            return bytes(log), True
        log += whole
        offset = _next_offset(whole)
        if offset >= part.high_watermark:
            return bytes(log), True
    return bytes(log), False


def _fetch(connection: Connection, place: TopicPartition, offset: int) -> Any:
    partition = connection.part(
        FETCH, "FetchPartition", partition=place.partition, fetch_offset=offset, partition_max_bytes=_STEP_BYTES
    )
    topic = connection.part(FETCH, "FetchTopic", topic=place.topic, partitions=(partition,))
    more = {"forgotten_topics_data": ()} if connection.version_of(FETCH) >= 7 else {}
    answer = connection.ask(
        FETCH, max_wait=timedelta(milliseconds=100), min_bytes=1, max_bytes=_STEP_BYTES, topics=(topic,), **more
    )
    part = answer.responses[0].partitions[0]
    check(part.error_code, f"the log of {place}")
    return part


def _whole(records: bytes) -> bytes:
    """Without the batch that the answer's limit cut off."""
    at = 0
    while at + _HEAD_BYTES <= len(records):
        size = 12 + int.from_bytes(records[at + 8 : at + 12], "big")
        if at + size > len(records):
            break
        at += size
    return records[:at]


def _next_offset(whole: bytes) -> int:
    at, following = 0, 0
    while at < len(whole):
        base = int.from_bytes(whole[at : at + 8], "big", signed=True)
        following = base + int.from_bytes(whole[at + 23 : at + 27], "big", signed=True) + 1
        at += 12 + int.from_bytes(whole[at + 8 : at + 12], "big")
    return following
