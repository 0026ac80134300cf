"""Typed topics."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import msgspec
import pytest

from tallystick.errors import ConfigurationError
from tallystick.pipeline import DecodeError, Topic, emit


class Struct(msgspec.Struct):
    amount: Decimal


@dataclass(frozen=True)
class Plain:
    name: str


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
