"""Typed topics."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel, Field

from tallystick.errors import ConfigurationError, RetriableError
from tallystick.pipeline import DecodeError, Json, Serde, Topic, emit


class Struct(msgspec.Struct):
    amount: Decimal


@dataclass(frozen=True)
class Plain:
    name: str


class Line(BaseModel):
    price: int


class Model(BaseModel):
    lines: list[Line]
    name: str = Field(alias="Name")


def test_values_of_every_kind_come_back_as_they_went() -> None:
    model = Model(lines=[Line(price=2)], Name="x")
    models, texts, anything = Topic("m", Model), Topic("t", str), Topic[Any]("a", Any)
    assert models.decode(b'{"lines":[{"price":2}],"Name":"x"}') == model
    assert Topic("l", Line).decode(Topic("l", Line).encode(Line(price=3))) == Line(price=3)
    assert texts.encode("ü") == "ü".encode()
    assert texts.decode("ü".encode()) == "ü"
    assert anything.decode(anything.encode({"a": [1, None]})) == {"a": [1, None]}
    assert Topic("t", str, serde=Json(str)).encode("ü") == '"ü"'.encode()


@pytest.mark.parametrize(
    ("topic", "raw", "path"),
    [
        (Topic("m", Model), b'{"lines":[{"price":1},{"price":"x"}],"Name":"n"}', "$.lines[1].price"),
        (Topic("m", Model), b"{", "$"),
        (Topic("s", Struct), b'{"amount":[]}', "$.amount"),
        (Topic("s", Struct), b"{}", "$"),
        (Topic("s", Struct), b"{", None),
        (Topic("t", str), b"\xff", None),
    ],
)
def test_what_does_not_decode_says_where_inside(topic: Topic[Any], raw: bytes, path: str | None) -> None:
    with pytest.raises(DecodeError, match=f"^{topic.name}: ") as refused:
        topic.decode(raw)
    assert (refused.value.path, refused.value.topic) == (path, topic.name)
    assert str(refused.value.at("s-3@7")).startswith("s-3@7: ")


class Reversed:
    """A serde of a user's own."""

    def encode(self, value: str) -> bytes:
        return value[::-1].encode()

    def decode(self, raw: bytes) -> str:
        if raw == b"away":
            raise RetriableError("what it needs is away")
        return raw[::-1].decode()


def test_a_serde_of_ones_own_is_two_methods() -> None:
    assert isinstance(Reversed(), Serde)
    topic = Topic("r", str, serde=Reversed())
    assert (topic.encode("abc"), topic.decode(b"cba")) == (b"cba", "abc")
    with pytest.raises(DecodeError, match=r"^r: "):
        topic.decode(b"\xff")
    with pytest.raises(RetriableError):
        topic.decode(b"away")


def test_values_come_back_as_they_went() -> None:
    structs, plains, raws = Topic("s", Struct), Topic("p", Plain), Topic("r", bytes)
    assert structs.decode(structs.encode(Struct(Decimal("1.10")))) == Struct(Decimal("1.10"))
    assert plains.decode(plains.encode(Plain("x"))) == Plain("x")
    assert raws.decode(raws.encode(b"\x00\xff")) == b"\x00\xff"


def test_a_decimal_travels_as_text() -> None:
    assert Topic("s", Struct).encode(Struct(Decimal("1.10"))) == b'{"amount":"1.10"}'


@pytest.mark.parametrize("raw", [b"", b"{", b'{"amount":[]}', b"{}", None])
def test_a_value_that_does_not_fit_is_refused_with_the_topics_name(raw: bytes | None) -> None:
    with pytest.raises(DecodeError, match=r"^s: "):
        Topic("s", Struct).decode(raw)


@pytest.mark.parametrize("name", ["", ".", "..", "a b", "ä", "x" * 250])
def test_a_name_that_kafka_refuses_is_refused_here(name: str) -> None:
    with pytest.raises(ConfigurationError):
        Topic(name, bytes)


def test_a_topic_without_partitions_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        Topic("s", bytes, partitions=0)


def test_emit_encodes_key_and_value() -> None:
    one = emit(Topic("p", Plain), Plain("x"), key="ü", headers=(("h", b"v"),))
    assert (one.key, one.value, one.headers) == ("ü".encode(), b'{"name":"x"}', (("h", b"v"),))
    assert emit(Topic("p", Plain), None).value is None
