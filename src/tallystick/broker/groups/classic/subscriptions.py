"""What a consumer subscribes to, read from the metadata that it joins a classic group with.

Owns: the first fields of Kafka's ConsumerProtocolSubscription (version, topics). Must not know: the rest of it, which
only the members read.
"""

from __future__ import annotations

import struct
from typing import Final

CONSUMER: Final = "consumer"
"""The protocol type whose metadata this is; others (Connect's) are opaque."""

_VERSION_AND_COUNT: Final = struct.Struct(">hi")
_LENGTH: Final = struct.Struct(">h")


def subscribed_topics(metadata: bytes) -> frozenset[str]:
    """The topics; none if the metadata is not what it should be: the client wrote it."""
    try:
        _, count = _VERSION_AND_COUNT.unpack_from(metadata)
        position, topics = _VERSION_AND_COUNT.size, []
        for _ in range(count):
            (length,) = _LENGTH.unpack_from(metadata, position)
            position += _LENGTH.size
            if length < 0 or position + length > len(metadata):
                return frozenset()
            topics.append(metadata[position : position + length].decode())
            position += length
    except (struct.error, UnicodeDecodeError):
        return frozenset()
    return frozenset(topics)
