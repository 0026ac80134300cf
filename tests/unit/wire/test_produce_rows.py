"""The rows of Produce, counted in every version, and refused before they become objects."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kio.index import load_request_schema
from tests.support.messages import random_message

from tallystick.wire.frames import MalformedFrame, read_request_header, write_request
from tallystick.wire.produce_rows import check_rows

VERSIONS = range(3, 14)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_request_is_counted_as_it_decodes(version: int) -> None:
    random = Random(version)
    for _ in range(50):
        message = random_message(load_request_schema(0, version), random, rows=6)
        rows = sum(1 + len(topic.partition_data) for topic in message.topic_data)
        frame = write_request(1, "client", message)[4:]
        header = read_request_header(frame)
        check_rows(frame, header, at_most=rows)
        with pytest.raises(MalformedFrame):
            check_rows(frame, header, at_most=rows - 1)


@given(st.sampled_from(VERSIONS), st.binary(max_size=60))
def test_garbage_is_refused_or_short(version: int, garbage: bytes) -> None:
    frame = write_request(1, None, random_message(load_request_schema(0, version), Random(1)))[4:]
    header = read_request_header(frame)
    try:
        check_rows(frame[: header.body_at] + garbage, header, at_most=100)
    except MalformedFrame:
        return
