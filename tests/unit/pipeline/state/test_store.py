"""Stores as they are declared: keys that sort, values of today and of before."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import ConfigurationError
from tallystick.pipeline import Store, UnreadableState

INTEGERS = st.integers(-(2**63), 2**63 - 1)


class Total(msgspec.Struct):
    amount_minor: int


class RenamedTotal(msgspec.Struct):
    minor: int


def renamed(raw: bytes, version: int) -> RenamedTotal:
    assert version == 1
    return RenamedTotal(msgspec.json.decode(raw, type=Total).amount_minor)


@given(INTEGERS, INTEGERS)
def test_numbers_sort_as_their_keys_do(one: int, other: int) -> None:
    store = Store("s", key=int, value=int)
    assert (one < other) == (store.encode_key(one) < store.encode_key(other))
    assert store.decode_key(store.encode_key(one)) == one


@given(st.text())
def test_text_is_read_back_as_a_key(key: str) -> None:
    store = Store("s", key=str, value=int)
    assert store.decode_key(store.encode_key(key)) == key


@given(st.binary(), st.integers(1, 255))
def test_bytes_are_read_back_whatever_they_begin_with(value: bytes, version: int) -> None:
    store = Store("s", key=bytes, value=bytes, version=version, upgrade=lambda raw, _version: raw)
    assert store.decode(store.encode(value)) == value


def test_the_stored_bytes_are_plain_json_until_there_is_a_version() -> None:
    assert Store("s", key=str, value=Total).encode(Total(5)) == b'{"amount_minor":5}'
    second = Store("s", key=str, value=RenamedTotal, version=2, upgrade=renamed)
    assert second.encode(RenamedTotal(5)) == b'\x00\x02{"minor":5}'


def test_a_value_of_an_older_version_is_made_new() -> None:
    raw = Store("s", key=str, value=Total).encode(Total(7))
    assert Store("s", key=str, value=RenamedTotal, version=2, upgrade=renamed).decode(raw) == RenamedTotal(7)


def test_a_value_that_the_type_cannot_read_stops_with_what_to_do() -> None:
    raw = Store("s", key=str, value=Total).encode(Total(7))
    with pytest.raises(UnreadableState, match="upgrade=function"):
        Store("s", key=str, value=RenamedTotal).decode(raw)


def test_a_value_of_a_newer_version_is_not_guessed_at() -> None:
    raw = Store("s", key=str, value=RenamedTotal, version=3, upgrade=renamed).encode(RenamedTotal(7))
    with pytest.raises(UnreadableState, match="Run the newer code again"):
        Store("s", key=str, value=RenamedTotal, version=2, upgrade=renamed).decode(raw)


def test_an_upgrade_that_fails_stops() -> None:
    with pytest.raises(UnreadableState, match="Correct the upgrade"):
        Store("s", key=str, value=RenamedTotal, version=2, upgrade=renamed).decode(b"{}")


@pytest.mark.parametrize(
    "options",
    [
        {"name": "no/slash", "key": str, "value": int},
        {"name": "s", "key": float, "value": int},
        {"name": "s", "key": str, "value": int, "version": 2},
        {"name": "s", "key": str, "value": int, "version": 256, "upgrade": renamed},
    ],
)
def test_a_store_that_cannot_work_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Store(**options)
