"""Every request that the schema knows can be refused, in its own version, and every error field says so."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from kio.index import load_request_schema
from kio.schema.index import api_key_map, schema_name_map
from tests.support.messages import random_message

from tallystick.wire.errors import ErrorCode
from tallystick.wire.frames import read_response, write_response
from tallystick.wire.refusals import MIRRORS, refusal

CODE = ErrorCode.cluster_authorization_failed
REQUESTS = [(key, version) for key, name in sorted(api_key_map.items()) for version in sorted(schema_name_map[name])]


def error_codes(value: Any) -> Iterator[ErrorCode]:
    for item in dataclasses.fields(value):
        held = getattr(value, item.name)
        if isinstance(held, ErrorCode):
            yield held
        for part in held if isinstance(held, tuple) else (held,):
            if dataclasses.is_dataclass(part):
                yield from error_codes(part)


@pytest.mark.parametrize(("key", "version"), REQUESTS, ids=str)
def test_a_refusal_is_a_response_that_says_so_wherever_it_can(key: int, version: int) -> None:
    random = Random(f"{key} {version}")
    for _ in range(5):
        request = random_message(load_request_schema(key, version), random)
        refused = refusal(request, CODE, "no")
        _, decoded = read_response(write_response(7, refused)[4:], key, version)
        assert decoded == refused
        codes = list(error_codes(decoded))
        assert set(codes) <= {CODE}
        if "error_code" in {item.name for item in dataclasses.fields(decoded)}:
            assert decoded.error_code is CODE


@pytest.mark.parametrize("name", sorted(MIRRORS))
def test_every_row_of_a_request_is_refused_by_its_name(name: str) -> None:
    (key,) = (key for key, known in api_key_map.items() if known == name)
    for version in sorted(schema_name_map[name]):
        request = random_message(load_request_schema(key, version), Random(version), rows=4)
        refused = refusal(request, CODE)
        for into, mirror in MIRRORS[name].items():
            if not hasattr(refused, into):
                continue
            rows = [row for source in mirror.sources for row in getattr(request, source, None) or ()]
            asked = [bare(row) for row in rows]
            told = [bare(row) for row in getattr(refused, into)]
            if name != "create_acls":  # its results are told by their order alone
                assert {value for value in asked if value} == {value for value in told if value}
            assert len(told) <= len(asked)


def bare(row: Any) -> Any:
    """What a row is about, by whichever field says it."""
    if not dataclasses.is_dataclass(row):
        return row
    for name in (
        "topic_id",
        "name",
        "topic",
        "user",
        "group_id",
        "transactional_id",
        "resource_name",
        "key",
        "feature",
    ):
        value = getattr(row, name, None)
        if value:
            return value
    return None
