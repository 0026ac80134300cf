"""Outputs come back from their bytes unchanged, and the bytes stay what they were."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.boundary.stored_outputs import decode_headers, decode_outputs, encode_headers, encode_outputs
from tallystick.errors import CorruptData
from tallystick.ids import EventId
from tallystick.pipeline.records import Output

_bytes = st.none() | st.binary(max_size=20)
_headers = st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=5)), max_size=3).map(tuple)
_outputs = st.builds(
    Output,
    topic=st.text(max_size=10),
    key=_bytes,
    value=_bytes,
    event_id=st.uuids().map(lambda each: EventId(str(each))),
    headers=_headers,
    partition=st.none() | st.integers(0, 2**31 - 1),
    timestamp_ms=st.none() | st.integers(0, 2**53),
)


@given(st.lists(_outputs, max_size=4))
def test_outputs_survive(outputs: list[Output]) -> None:
    assert decode_outputs(encode_outputs(outputs), place="test") == tuple(outputs)


@given(_headers)
def test_headers_survive(headers: tuple[tuple[str, bytes], ...]) -> None:
    assert decode_headers(encode_headers(headers), place="test") == headers


def test_the_format_is_frozen() -> None:
    raw = encode_outputs([Output("t", b"k", None, EventId("e"), (("h", b"1"),), 3, 9)])
    assert raw is not None
    assert raw.hex() == "92019197a174c4016bc0a1659192a168c401310309"


@pytest.mark.parametrize("raw", [b"", b"\xff", b"\x92\x02\x90"])
def test_other_bytes_are_corrupt_and_the_place_is_named(raw: bytes) -> None:
    with pytest.raises(CorruptData, match="row 7"):
        decode_outputs(raw, place="row 7")
    with pytest.raises(CorruptData, match="row 7"):
        decode_headers(raw, place="row 7")
