"""The newest offset of each key, in bounded memory.

Owns: the map by the keys' hashes. Must not know: records.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

BYTES_PER_KEY: Final = 200
"""What a key costs here, measured: a hash of 16 bytes, an offset, and their place in a dict."""
_HASH_BYTES: Final = 16
_MIN_KEYS: Final = 1_000


class LatestOffsets:
    """``buffer_bytes`` is about what it may take (``log.cleaner.dedupe.buffer.size``)."""

    def __init__(self, buffer_bytes: int) -> None:
        self._most = max(buffer_bytes // BYTES_PER_KEY, _MIN_KEYS)
        self._offsets: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._offsets)

    def has_room(self, keys: int) -> bool:
        """Whether so many more keys fit. Into an empty map any batch fits: there must be progress."""
        return not self._offsets or len(self._offsets) + keys <= self._most

    def note(self, key: bytes, offset: int) -> None:
        """A record of this key lies here; offsets come in their order."""
        self._offsets[blake2b(key, digest_size=_HASH_BYTES).digest()] = offset

    def of(self, key: bytes) -> int:
        """The newest offset that was noted; -1 if none was."""
        return self._offsets.get(blake2b(key, digest_size=_HASH_BYTES).digest(), -1)
