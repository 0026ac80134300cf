"""The log of a partition as its batches lie there: byte for byte, as a Fetch gives them.

Owns: fetching batches from an offset on. Must not know: what is in a batch, beyond its head.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

from tallystick.operate.cluster import Cluster, TopicPartition, check
from tallystick.operate.connection import Connection, Versions
from tallystick.wire.batch import BatchHeader, read_header

FETCH: Final = Versions("fetch", 4, 11)
"""By topic name; later versions name topics by id."""
_STEP_BYTES: Final = 1024 * 1024
_LONGEST_BATCH_BYTES: Final = 128 * 1024 * 1024
_LENGTH_ENDS_AT: Final = 12
_HEAD_BYTES: Final = 61
_SESSIONLESS_FROM: Final = 7
"""The version from which a request names what an incremental one forgets."""


def batches(cluster: Cluster, place: TopicPartition, *, offset: int = 0) -> Iterator[tuple[BatchHeader, bytes]]:
    """Each whole batch from the one that holds ``offset`` on, up to the high watermark; markers and all."""
    ((connection, _),) = cluster.by_leader([place])
    while True:
        part = _fetch(connection, place, offset, _STEP_BYTES)
        data = bytes(part.records or b"")
        if data and _size(data) > len(data):  # the first batch is longer than a step
            data = bytes(_fetch(connection, place, offset, _LONGEST_BATCH_BYTES).records or b"")
        following = offset
        for header, batch in _whole(data):
            following = header.base_offset + header.last_offset_delta + 1
            yield header, batch
        if following <= offset or following >= part.high_watermark:
            return
        offset = following


def _fetch(connection: Connection, place: TopicPartition, offset: int, limit_bytes: int) -> Any:
    partition = connection.part(
        FETCH, "FetchPartition", partition=place.partition, fetch_offset=offset, partition_max_bytes=limit_bytes
    )
    topic = connection.part(FETCH, "FetchTopic", topic=place.topic, partitions=(partition,))
    more = {"forgotten_topics_data": ()} if connection.version_of(FETCH) >= _SESSIONLESS_FROM else {}
    answer = connection.ask(
        FETCH, max_wait=timedelta(milliseconds=100), min_bytes=1, max_bytes=limit_bytes, topics=(topic,), **more
    )
    part = answer.responses[0].partitions[0]
    check(part.error_code, f"the log of {place}")
    return part


def _size(data: bytes) -> int:
    return _LENGTH_ENDS_AT + int.from_bytes(data[8:_LENGTH_ENDS_AT], "big")


def _whole(data: bytes) -> Iterator[tuple[BatchHeader, bytes]]:
    """Without the batch that the answer's limit cut off."""
    at = 0
    while at + _HEAD_BYTES <= len(data):
        end = at + _LENGTH_ENDS_AT + int.from_bytes(data[at + 8 : at + _LENGTH_ENDS_AT], "big")
        if end > len(data):
            return
        yield read_header(data, at), data[at:end]
        at = end
