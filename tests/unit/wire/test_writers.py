"""Writers made from the schemas, held against kio's own for every response in every version."""

from __future__ import annotations

import dataclasses
import io
import struct
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from kio.index import load_response_schema
from kio.schema.index import api_key_map
from kio.serial import entity_writer
from tests.support.messages import random_message

from tallystick.wire.frames import write_response
from tallystick.wire.short_rows import Parts
from tallystick.wire.writers import writer_of


@pytest.mark.parametrize("key", sorted(api_key_map))
def test_a_response_has_the_bytes_that_kio_writes(key: int) -> None:
    for version in range(100):
        try:
            response_type: Any = load_response_schema(key, version)
        except RuntimeError:
            continue
        random = Random(1000 * key + version)
        for _ in range(5):
            message = random_message(response_type, random)
            buffer = io.BytesIO()
            entity_writer(response_type)(buffer, message)
            parts: Parts = []
            writer_of(response_type)(parts, message)
            assert b"".join(parts) == buffer.getvalue()


def test_a_list_whose_length_takes_two_bytes_has_them() -> None:
    response_type: Any = load_response_schema(49, 1)  # AlterClientQuotas
    message = random_message(response_type, Random(1), rows=1)
    message = dataclasses.replace(message, entries=message.entries * 200)
    buffer = io.BytesIO()
    entity_writer(response_type)(buffer, message)
    parts: Parts = []
    writer_of(response_type)(parts, message)
    assert b"".join(parts) == buffer.getvalue()


def test_a_number_that_does_not_fit_its_field_is_an_error() -> None:
    message = random_message(load_response_schema(12, 1), Random(1))  # Heartbeat
    with pytest.raises(struct.error):
        write_response(1, dataclasses.replace(message, throttle_time=timedelta(days=100)))


def test_none_where_a_text_must_be_is_an_error() -> None:
    message = random_message(load_response_schema(60, 2), Random(1))  # DescribeCluster
    with pytest.raises(TypeError, match="None"):
        write_response(1, dataclasses.replace(message, cluster_id=None))
