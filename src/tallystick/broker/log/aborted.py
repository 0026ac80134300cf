"""One aborted transaction as a partition remembers it.

Owns: the row and its 32 bytes on disk. Must not know: who asks for it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_ROW: Final = struct.Struct("<qqqq")
ABORTED_ROW_BYTES: Final = _ROW.size
LAST_OFFSET_AT: Final = 16
"""Where ``last_offset``, by which the rows are sorted, lies in a row."""


@dataclass(frozen=True, slots=True)
class AbortedTransaction:
    """One row of the aborted index; ``last_stable_offset`` is the one just after the marker at ``last_offset``."""

    producer_id: int
    first_offset: int
    last_offset: int
    last_stable_offset: int

    def to_bytes(self) -> bytes:
        return _ROW.pack(self.producer_id, self.first_offset, self.last_offset, self.last_stable_offset)


def read_rows(data: bytes) -> Iterator[AbortedTransaction]:
    """The whole rows in ``data``."""
    for fields in _ROW.iter_unpack(data[: len(data) - len(data) % _ROW.size]):
        yield AbortedTransaction(*fields)
