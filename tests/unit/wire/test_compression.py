"""Codecs: what goes in comes out, and what is too much is refused."""

from __future__ import annotations

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.wire.batch import MalformedBatch
from tallystick.wire.compression import CODECS, LZ4, SNAPPY, DecompressedTooLarge, compress, decompress

NAMES = sorted(set(CODECS) - {"none"})
BODIES = st.binary(max_size=500) | st.builds(lambda size: b"ab" * size, st.integers(0, 200_000))


@given(BODIES, st.sampled_from(sorted(CODECS)))
def test_a_body_comes_back_as_it_was(body: bytes, codec: str) -> None:
    number = CODECS[codec]
    assert decompress(number, compress(number, body), max_bytes=max(len(body), 1)) == body


@pytest.mark.parametrize("codec", NAMES)
def test_a_body_that_decompresses_to_more_than_it_may_is_refused(codec: str) -> None:
    number = CODECS[codec]
    body = compress(number, bytes(1_000_000))
    assert len(decompress(number, body, max_bytes=1_000_000)) == 1_000_000
    with pytest.raises(DecompressedTooLarge):
        decompress(number, body, max_bytes=999_999)


def test_the_blocks_of_a_java_producers_snappy_share_one_bound() -> None:
    block = bytes(cramjam.snappy.compress_raw(bytes(1000)))
    framed = b"\x82SNAPPY\x00" + bytes(8) + 3 * (len(block).to_bytes(4, "big") + block)
    assert len(decompress(SNAPPY, framed, max_bytes=3000)) == 3000
    with pytest.raises(DecompressedTooLarge):
        decompress(SNAPPY, framed, max_bytes=2999)


@pytest.mark.parametrize("codec", NAMES)
@pytest.mark.parametrize("body", [b"", b"\xff" * 40, bytes(40), b"\x82SNAPPY\x00" + b"\xff" * 12])
def test_what_is_no_compressed_body_is_malformed(codec: str, body: bytes) -> None:
    try:
        assert decompress(CODECS[codec], body, max_bytes=1000) == b""
    except DecompressedTooLarge:
        pytest.fail("it is not too large")
    except MalformedBatch:
        pass


def test_lz4_blocks_are_independent_because_java_reads_no_others() -> None:
    body = compress(LZ4, bytes(100_000))
    assert body[:4] == bytes.fromhex("04224d18")
    assert body[4] & 0x20
    assert bytes(cramjam.lz4.decompress(body)) == bytes(100_000)


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_the_level_is_heeded(codec: str) -> None:
    body = b"".join(b"%d:%d;" % (number, number * number % 977) for number in range(20_000))
    low, high = (compress(CODECS[codec], body, level=level) for level in (1, 9))
    assert low != high
    assert decompress(CODECS[codec], low) == decompress(CODECS[codec], high) == body


def test_an_unknown_codec_is_malformed() -> None:
    for action in (compress, decompress):
        with pytest.raises(MalformedBatch, match="codec 5"):
            action(5, b"x")
