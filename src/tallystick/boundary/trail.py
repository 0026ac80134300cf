"""Where in the inbox's table a replay has come.

Owns: the guess where the rows of the next batch stand. Must not know: SQL, nor what a place is (the number of a row, or
of a page).

A replay meets events in about the order in which they were first read, and so their rows stand side by side: reading
on from where the last batch's rows ended takes a fraction of looking up each id. It is a guess about where to read,
never about what is there: what is not found is looked up by its id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

LONGEST_PAUSE: Final = 64
"""Batches for which a trail that was lost over and over again is left alone."""

SHARED_FOR: Final = 16
"""Batches for which two that shared rows tell that others will."""


class Span(NamedTuple):
    """The first and the last place of some rows."""

    first: int
    last: int


@dataclass(slots=True)
class Trail:
    """Of one effect: where to read on."""

    _start: int | None = None
    _last: int = -1
    _lost: int = 0
    _shared: int = 0
    _pause: int = 0

    def start(self) -> int | None:
        """From which place on to read for the next batch; None: nothing is known."""
        if self._pause:
            self._pause -= 1
            return None
        return self._start

    def kept(self) -> None:
        """Most rows of a batch stood where they were looked for."""
        self._lost = 0

    def lost(self) -> None:
        """They did not: the guess rests, for twice as many batches each time."""
        self._lost += 1
        self._pause = min(2**self._lost, LONGEST_PAUSE)

    def at(self, *spans: Span | None) -> None:
        """Where the rows of a batch stood."""
        seen = [span for span in spans if span is not None]
        if not seen:
            return
        first, last = min(span.first for span in seen), max(span.last for span in seen)
        # The rows of one batch are sorted by id. If a replay cuts its batches elsewhere, two of them share such rows,
        # and the next one may begin before the end of this one.
        self._shared = SHARED_FOR if first < self._last else max(self._shared - 1, 0)
        self._start = first if self._shared else last
        self._last = last
