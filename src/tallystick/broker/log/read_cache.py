"""What a log remembers of its latest reads.

Owns: where they stopped, and which closed segments keep a descriptor. Must not know: what is read.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from tallystick.broker.log.segment import Segment

_OPEN_SEGMENTS: Final = 2
"""Closed segments that keep a descriptor: as many as readers usually read at a time."""
_ENDS: Final = 16


class ReadCache:
    """A consumer that follows the log goes on where its last read stopped, without a search."""

    def __init__(self) -> None:
        self._ends: dict[int, tuple[Segment, int]] = {}
        self._open: list[Segment] = []

    def take(self, offset: int) -> tuple[Segment, int] | None:
        """Segment and position of this offset, if a read stopped there and more is there now."""
        known = self._ends.pop(offset, None)
        return known if known is not None and known[1] < known[0].size_bytes else None

    def stopped(self, offset: int, segment: Segment, position: int) -> None:
        """A read stopped before this offset."""
        self._ends[offset] = (segment, position)
        if len(self._ends) > _ENDS:
            del self._ends[next(iter(self._ends))]

    def used(self, segment: Segment) -> None:
        """Keep the descriptors of the segments that were read last, and no others."""
        if segment.file is not None or segment in self._open:
            return
        self._open.append(segment)
        if len(self._open) > _OPEN_SEGMENTS:
            self._open.pop(0).release()

    def forget(self, gone: Collection[Segment]) -> None:
        """These segments are no longer the log's."""
        self._ends = {offset: end for offset, end in self._ends.items() if end[0] not in gone}
        self._open = [segment for segment in self._open if segment not in gone]
