"""Serdes over a schema registry: values come back, nothing is asked twice, and each failure is told for what it is."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from pydantic import BaseModel
from tests.support.schema_registry import SchemaRegistry

from tallystick.errors import ConfigurationError, RetriableError
from tallystick.pipeline import DecodeError, Topic, emit
from tallystick.pipeline.registry import Registry

AVRO = json.dumps(
    {
        "type": "record",
        "name": "Purchase",
        "fields": [
            {"name": "user", "type": "string"},
            {"name": "lines", "type": {"type": "array", "items": {"type": "map", "values": "long"}}},
        ],
    }
)


class Purchase(msgspec.Struct):
    user: str
    lines: list[dict[str, int]]


@dataclasses.dataclass
class Plain:
    user: str
    lines: list[dict[str, int]]


class Model(BaseModel):
    user: str
    lines: list[dict[str, int]]


def _message_type() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="shop/purchase.proto", package="shop", syntax="proto3")
    message = file.message_type.add(name="Purchase")
    message.field.add(name="user", number=1, type=9, label=1)
    message.field.add(name="n", number=2, type=3, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Purchase"))


PROTOBUF = _message_type()
LINES = [{"tea": 2}, {"cake": 1, "milk": 3}]


@pytest.fixture
def server() -> Iterator[SchemaRegistry]:
    with SchemaRegistry() as server:
        yield server


@pytest.fixture
def registry(server: SchemaRegistry) -> Iterator[Registry]:
    with Registry(server.url, {"max.retries": 0}) as registry:
        yield registry


def topics(registry: Registry) -> list[tuple[Topic[Any], Any]]:
    made: list[tuple[Topic[Any], Any]] = []
    for kind in (Purchase, Plain, Model):
        value: Any = kind(user="ada", lines=LINES)
        made.append((Topic(f"avro-{kind.__name__}", kind, serde=registry.avro(kind, AVRO)), value))
        made.append((Topic(f"json-{kind.__name__}", kind, serde=registry.json_schema(kind)), value))
    made.append((Topic("avro-dict", dict, serde=registry.avro(dict, AVRO)), {"user": "ada", "lines": LINES}))
    made.append((Topic("protobuf", PROTOBUF, serde=registry.protobuf(PROTOBUF)), PROTOBUF(user="ada", n=3)))
    return made


def test_values_of_every_kind_come_back_as_they_went(registry: Registry) -> None:
    for topic, value in topics(registry):
        raw = topic.encode(value)
        assert raw[:1] == b"\0", topic  # the registry's framing: 0, and the schema's id
        assert topic.decode(raw) == value, topic
        assert emit(topic, value).value == raw


def test_only_the_first_record_of_a_schema_asks_the_registry(registry: Registry, server: SchemaRegistry) -> None:
    made = topics(registry)
    for topic, value in made:
        topic.decode(topic.encode(value))
    asked = len(server.asked)
    for topic, value in made:
        for _ in range(20):
            topic.decode(topic.encode(value))
    assert len(server.asked) == asked


def test_a_value_that_another_schema_wrote_is_read_under_its_own(registry: Registry, server: SchemaRegistry) -> None:
    wider = json.loads(AVRO)
    wider["fields"].append({"name": "note", "type": "string", "default": "none"})
    old, new = (Topic("purchases", dict, serde=registry.avro(dict, text)) for text in (AVRO, json.dumps(wider)))
    assert new.decode(old.encode({"user": "ada", "lines": []})) == {"user": "ada", "lines": [], "note": "none"}
    assert len(server.schemas) == 1  # reading registers nothing


def test_bytes_that_no_schema_explains_are_undecodable_with_their_place(registry: Registry) -> None:
    by_name = {topic.name: topic for topic, value in topics(registry) if topic.encode(value)}
    for raw in (b"", b"{}", b"\0\0\0\0\x63xx"):
        for topic in by_name.values():
            with pytest.raises(DecodeError, match=f"^{topic.name}: "):
                topic.decode(raw)
    topic = by_name["json-Purchase"]
    good = topic.encode(Purchase("ada", LINES))
    with pytest.raises(DecodeError) as refused:
        topic.decode(good[:5] + b'{"user":"ada","lines":[{"tea":2},{"cake":"two"}]}')
    assert refused.value.path == "$.lines[1].cake"


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_registry_that_cannot_answer_is_asked_again_and_blames_no_value(
    registry: Registry, server: SchemaRegistry, status: int
) -> None:
    topic = Topic("purchases", Purchase, serde=registry.avro(Purchase, AVRO))
    server.failing = status
    with pytest.raises(RetriableError, match=server.url):
        topic.encode(Purchase("ada", LINES))
    with pytest.raises(RetriableError, match="purchases"):
        topic.decode(b"\0\0\0\0\1xx")
    server.failing = None
    assert topic.decode(topic.encode(Purchase("ada", LINES))).user == "ada"


def test_a_registry_that_is_away_is_retriable() -> None:
    with SchemaRegistry() as server:
        url = server.url
    with Registry(url, {"max.retries": 0}) as registry:
        topic = Topic("purchases", Purchase, serde=registry.avro(Purchase, AVRO))
        with pytest.raises(RetriableError, match="is away"):
            topic.encode(Purchase("ada", LINES))
        with pytest.raises(RetriableError, match="is away"):
            topic.decode(b"\0\0\0\0\1xx")


@pytest.mark.parametrize("status", [401, 403, 409, 422])
def test_a_registry_that_refuses_a_schema_stops_whoever_writes(
    registry: Registry, server: SchemaRegistry, status: int
) -> None:
    server.failing = status
    with pytest.raises(ConfigurationError, match="refuses"):
        Topic("purchases", Purchase, serde=registry.avro(Purchase, AVRO)).encode(Purchase("ada", LINES))


def test_a_value_that_does_not_fit_its_schema_is_the_values_fault(registry: Registry) -> None:
    topic = Topic("purchases", dict, serde=registry.avro(dict, AVRO))
    with pytest.raises(Exception, match="lines") as refused:
        topic.encode({"user": "ada"})
    assert not isinstance(refused.value, RetriableError | ConfigurationError)
