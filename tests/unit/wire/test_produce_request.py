"""Produce requests decoded by hand, held against kio's decoder in every version."""

from __future__ import annotations

import random
import uuid
from datetime import timedelta
from typing import Any

import pytest
from kio.index import load_request_schema
from kio.serial import entity_reader

from tallystick.wire import schema
from tallystick.wire.frames import read_request_header, write_request
from tallystick.wire.produce_request import FIRST_VERSION, read_produce
from tallystick.wire.shapes import MalformedFrame

VERSIONS = range(FIRST_VERSION, 14)
FIRST_FLEXIBLE = 9


def request(version: int, chooser: random.Random) -> Any:
    build = schema.request("produce", version)
    topics = tuple(
        build.TopicProduceData(
            **(
                {"topic_id": chooser.choice([None, uuid.UUID(int=chooser.getrandbits(128))])}
                if version >= 13
                else {"name": f"täglich-{number}"}
            ),
            partition_data=tuple(
                build.PartitionProduceData(
                    index=chooser.randrange(2**31),
                    records=chooser.choice([None, b"", chooser.randbytes(chooser.choice([1, 127, 128, 20_000]))]),
                )
                for _ in range(chooser.randrange(4))
            ),
        )
        for number in range(chooser.randrange(4))
    )
    return build.ProduceRequest(
        transactional_id=chooser.choice([None, "", "shop/göteborg/0/1", "x" * 300]),
        acks=chooser.choice([-1, 0, 1]),
        timeout=timedelta(milliseconds=chooser.randrange(2**31)),
        topic_data=topics,
    )


def frame_of(message: Any) -> bytes:
    return write_request(1, "client", message)[4:]


@pytest.mark.parametrize("version", VERSIONS)
def test_it_decodes_what_kio_decodes(version: int) -> None:
    chooser = random.Random(version)
    kio = entity_reader(load_request_schema(0, version))
    for _ in range(50):
        frame = frame_of(request(version, chooser))
        at = read_request_header(frame).body_at
        assert read_produce(frame, at, version) == kio(frame, at)[0]


@pytest.mark.parametrize("version", VERSIONS)
def test_records_are_views_into_the_frame(version: int) -> None:
    build = schema.request("produce", version)
    identity = {"topic_id": uuid.UUID(int=7)} if version >= 13 else {"name": "t"}
    rows = (build.PartitionProduceData(index=0, records=b"batch"),)
    topics = (build.TopicProduceData(**identity, partition_data=rows),)
    message = build.ProduceRequest(transactional_id=None, acks=-1, timeout=timedelta(0), topic_data=topics)
    frame = bytearray(frame_of(message))
    decoded = read_produce(memoryview(frame), read_request_header(bytes(frame)).body_at, version)
    frame[frame.index(b"batch")] = ord("m")
    assert decoded.topic_data[0].partition_data[0].records == b"match"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_frame_that_ends_early_is_malformed_wherever_it_ends(version: int) -> None:
    build = schema.request("produce", version)
    identity = {"topic_id": uuid.UUID(int=7)} if version >= 13 else {"name": "orders"}
    rows = tuple(build.PartitionProduceData(index=index, records=b"batch") for index in range(2))
    topics = (build.TopicProduceData(**identity, partition_data=rows),)
    message = build.ProduceRequest(transactional_id="tx", acks=-1, timeout=timedelta(0), topic_data=topics)
    frame = frame_of(message)
    at = read_request_header(frame).body_at
    for end in range(at, len(frame)):
        with pytest.raises(MalformedFrame):
            read_produce(frame[:end], at, version)


def test_a_flipped_byte_gives_another_request_or_a_malformed_frame_and_nothing_else() -> None:
    chooser = random.Random(7)
    for version in VERSIONS:
        frame = frame_of(request(version, chooser))
        at = read_request_header(frame).body_at
        for _ in range(300):
            bent = bytearray(frame)
            bent[chooser.randrange(at, len(frame))] = chooser.randrange(256)
            try:
                read_produce(bytes(bent), at, version)
            except MalformedFrame:
                continue


@pytest.mark.parametrize("version", VERSIONS)
def test_topics_and_partitions_are_counted_together(version: int) -> None:
    build = schema.request("produce", version)
    identity = {"topic_id": uuid.UUID(int=7)} if version >= 13 else {"name": "t"}
    rows = tuple(build.PartitionProduceData(index=index, records=None) for index in range(4))
    topics = (build.TopicProduceData(**identity, partition_data=rows),) * 2
    message = build.ProduceRequest(transactional_id=None, acks=-1, timeout=timedelta(0), topic_data=topics)
    frame = frame_of(message)
    at = read_request_header(frame).body_at
    assert len(read_produce(frame, at, version, max_rows=10).topic_data) == 2
    with pytest.raises(MalformedFrame, match="too many rows"):
        read_produce(frame, at, version, max_rows=9)


@pytest.mark.parametrize("version", range(FIRST_FLEXIBLE, 14))
def test_tagged_fields_that_nobody_knows_are_skipped(version: int) -> None:
    build = schema.request("produce", version)
    message = build.ProduceRequest(transactional_id=None, acks=-1, timeout=timedelta(0), topic_data=())
    frame = frame_of(message)
    assert frame.endswith(b"\x00")
    at = read_request_header(frame).body_at
    tagged = frame[:-1] + b"\x02" + b"\x05\x03abc" + b"\x07\x00"
    assert read_produce(tagged, at, version) == message
    with pytest.raises(MalformedFrame):
        read_produce(tagged[:-4], at, version)
