"""The codecs of record batches, with a bound on what decompressing may cost.

Owns: compressing and decompressing a batch's body by its codec number. Must not know: records.

A body of 1 MiB may decompress to a thousand times as much: whoever takes bodies from strangers says how much he takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tallystick.wire.batch import MalformedBatch

NONE: Final = 0
GZIP: Final = 1
SNAPPY: Final = 2
LZ4: Final = 3
ZSTD: Final = 4
CODECS: Final = {"none": NONE, "gzip": GZIP, "snappy": SNAPPY, "lz4": LZ4, "zstd": ZSTD}

MAX_DECOMPRESSED_BYTES: Final = 128 * 1024 * 1024
"""Of one batch. A megabyte of zstd can become 32 GB; what is larger than this is damage or an attack."""

_GZIP_LEVEL: Final = 6
_ZSTD_LEVEL: Final = 3
_XERIAL_MAGIC: Final = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES: Final = 16
_LZ4_FRAME_HEADER: Final = bytes.fromhex("04224d18604082")
"""Magic; version 1, independent blocks; blocks of 64 KiB; checksum of these two bytes."""
_LZ4_BLOCK_BYTES: Final = 64 * 1024
_LZ4_UNCOMPRESSED: Final = 1 << 31
_LZ4_END: Final = bytes(4)
_BUFFER_FULL: Final = "failed to write whole buffer"
"""What cramjam says (the text is that of Rust's ``std::io``) when the output does not fit."""
_FIRST_BUFFER_BYTES: Final = 64 * 1024
_USUAL_RATIO: Final = 8


class DecompressedTooLarge(MalformedBatch):
    """The body decompresses to more than it may."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"the batch decompresses to more than {max_bytes} bytes")


def compress(codec: int, body: bytes, *, level: int | None = None) -> bytes:
    """Compress a batch's body by codec number; a level counts for gzip (1 to 9) and zstd (up to 22)."""
    import cramjam

    match codec:
        case 0:
            return body
        case 1:
            return bytes(cramjam.gzip.compress(body, level=_GZIP_LEVEL if level is None else level))
        case 2:
            return bytes(cramjam.snappy.compress_raw(body))
        case 3:
            return _compress_lz4(cramjam, body)
        case 4:
            return bytes(cramjam.zstd.compress(body, level=_ZSTD_LEVEL if level is None else level))
    raise MalformedBatch(f"no compression codec {codec}")


def _compress_lz4(cramjam: Any, body: bytes) -> bytes:
    """A frame of independent blocks of 64 KiB: Java's clients read no other, and cramjam's own frames are others."""
    parts = [_LZ4_FRAME_HEADER]
    for at in range(0, len(body), _LZ4_BLOCK_BYTES):
        raw = body[at : at + _LZ4_BLOCK_BYTES]
        packed = bytes(cramjam.lz4.compress_block(raw, store_size=False))
        if len(packed) < len(raw):
            parts += [len(packed).to_bytes(4, "little"), packed]
        else:
            parts += [(len(raw) | _LZ4_UNCOMPRESSED).to_bytes(4, "little"), raw]
    parts.append(_LZ4_END)
    return b"".join(parts)


def decompress(codec: int, body: bytes, *, max_bytes: int = MAX_DECOMPRESSED_BYTES) -> bytes:
    """The opposite of ``compress``; also reads the framing of Java's snappy library.

    ``MalformedBatch`` if the body does not decompress; ``DecompressedTooLarge`` above ``max_bytes``, before that much
    memory was used.
    """
    if codec == NONE:
        return body
    import cramjam

    try:
        match codec:
            case 1:
                return _grown(cramjam.gzip.decompress_into, body, max_bytes)
            case 2:
                return _decompress_snappy(cramjam, body, max_bytes)
            case 3:
                return _grown(cramjam.lz4.decompress_into, body, max_bytes)
            case 4:
                return _grown(cramjam.zstd.decompress_into, body, max_bytes)
    except cramjam.DecompressionError as error:
        raise MalformedBatch(f"the batch does not decompress: {error}") from error
    raise MalformedBatch(f"no compression codec {codec}")


def _grown(decompress_into: Callable[[bytes, bytearray], int], body: bytes, max_bytes: int) -> bytes:
    """Decompress into a buffer of a usual size, and into a larger one as long as it does not fit."""
    import cramjam

    size = min(max(_FIRST_BUFFER_BYTES, _USUAL_RATIO * len(body)), max_bytes)
    while True:
        buffer = bytearray(size)
        try:
            return bytes(memoryview(buffer)[: decompress_into(body, buffer)])
        except cramjam.DecompressionError as error:
            if _BUFFER_FULL not in str(error):
                raise
            if size >= max_bytes:
                raise DecompressedTooLarge(max_bytes) from None
        size = min(size * _USUAL_RATIO, max_bytes)


def _decompress_snappy(cramjam: Any, body: bytes, max_bytes: int) -> bytes:
    if not body.startswith(_XERIAL_MAGIC):
        return _snappy_block(cramjam, body, max_bytes)
    at, parts, room = _XERIAL_HEADER_BYTES, [], max_bytes
    while at < len(body):
        start = at + 4
        at = start + int.from_bytes(body[at:start], "big")
        parts.append(_snappy_block(cramjam, body[start:at], room))
        room -= len(parts[-1])
    return b"".join(parts)


def _snappy_block(cramjam: Any, block: bytes, max_bytes: int) -> bytes:
    if cramjam.snappy.decompress_raw_len(block) > max_bytes:
        raise DecompressedTooLarge(max_bytes)
    return bytes(cramjam.snappy.decompress_raw(block))
