"""A request that repeats the one before is decoded once, and is otherwise read like any other."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tallystick.wire import schema
from tallystick.wire.frames import read_request, read_request_header, write_request
from tallystick.wire.repeated_requests import MAX_REPEATED_BYTES, RepeatedRequests
from tallystick.wire.shapes import MalformedFrame


def fetch(correlation_id: int, offset: int, *, version: int = 16, partitions: int = 1, client: str = "one") -> bytes:
    build = schema.request("fetch", version)
    identity = {"topic_id": None} if version >= 13 else {"topic": "orders"}
    rows = tuple(
        build.FetchPartition(partition=number, fetch_offset=offset, partition_max_bytes=1000)
        for number in range(partitions)
    )
    message = build.FetchRequest(
        max_wait=timedelta(0),
        min_bytes=1,
        isolation_level=0,
        topics=(build.FetchTopic(**identity, partitions=rows),),
        forgotten_topics_data=(),
    )
    return write_request(correlation_id, client, message)[4:]


def read(requests: RepeatedRequests, frame: bytes) -> Any:
    return requests.read(frame, read_request_header(frame))


@pytest.mark.parametrize("version", [4, 11, 12, 16])
def test_what_is_asked_again_is_decoded_once_whatever_its_correlation_id(version: int) -> None:
    requests = RepeatedRequests()
    first = read(requests, fetch(1, 7, version=version))
    assert read(requests, fetch(2, 7, version=version)) is first
    other = read(requests, fetch(3, 8, version=version))
    assert other.topics[0].partitions[0].fetch_offset == 8
    assert read(requests, fetch(4, 7, version=version)) == first


def test_the_same_bytes_in_another_version_are_another_request() -> None:
    requests = RepeatedRequests()
    read(requests, fetch(1, 7, version=15))
    frame = fetch(2, 7, version=16)
    assert read(requests, frame) == read_request(frame, read_request_header(frame))


def test_a_large_request_and_one_of_another_api_are_not_kept() -> None:
    requests = RepeatedRequests()
    large = fetch(1, 7, partitions=1 + MAX_REPEATED_BYTES // 16)
    assert read(requests, large) == read(requests, large)
    assert read(requests, large) is not read(requests, large)
    build = schema.request("heartbeat", 4)
    beat = write_request(1, "one", build.HeartbeatRequest(group_id="g", generation_id=1, member_id="m"))[4:]
    assert read(requests, beat) is not read(requests, beat)


def test_a_malformed_request_is_malformed_each_time() -> None:
    requests = RepeatedRequests()
    good = fetch(1, 7)
    read(requests, good)
    for _ in range(2):
        with pytest.raises(MalformedFrame):
            read(requests, good[:-3])
    assert read(requests, good).topics[0].partitions[0].fetch_offset == 7
