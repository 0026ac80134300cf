"""How much a start after ``kill -9`` would have to read, and keeping it small.

Owns: the sums over all logs of what was appended since each one's last checkpoint. Must not know: what a checkpoint is.

The bound is for the node, not for a log, so that a thousand logs with a little each are no slower to start than one.
"""

from __future__ import annotations

from typing import Final, Protocol

import structlog

logger = structlog.get_logger(__name__)

MAX_REPLAYED_BYTES: Final = 256 * 1024 * 1024
MAX_REPLAYED_BATCHES: Final = 100_000
PAUSE_TICKS: Final = 200
"""After a failure (a full disk), so many calls of ``tick`` pass before the next attempt."""


class CheckpointedLog(Protocol):
    """A log that counts what it appended since its last checkpoint."""

    unsaved_batches: int
    unsaved_bytes: int

    def checkpoint(self) -> None:
        """Make what was appended so far cheap to start from. ``OSError``: disk full; nothing is lost."""
        ...


class Checkpoints:
    """The logs of a node that have something to save."""

    def __init__(self, *, max_bytes: int = MAX_REPLAYED_BYTES, max_batches: int = MAX_REPLAYED_BATCHES) -> None:
        self._max_bytes = max_bytes
        self._max_batches = max_batches
        self._logs: set[CheckpointedLog] = set()
        self._bytes = 0
        self._batches = 0
        self._pause = 0

    def appended(self, log: CheckpointedLog, size_bytes: int) -> None:
        """The log has one more batch of this size."""
        self._bytes += size_bytes
        self._batches += 1
        self._logs.add(log)

    def saved(self, log: CheckpointedLog) -> None:
        """The log is about to forget its counters: it made a checkpoint, or it is gone."""
        self._bytes -= log.unsaved_bytes
        self._batches -= log.unsaved_batches
        self._logs.discard(log)

    def tick(self) -> None:
        """Bring the sums below half of their bounds, if they are above them, beginning with the largest."""
        if self._bytes <= self._max_bytes and self._batches <= self._max_batches:
            return
        if self._pause > 0:
            self._pause -= 1
            return
        for log in sorted(self._logs, key=self._weight, reverse=True):
            if self._bytes <= self._max_bytes // 2 and self._batches <= self._max_batches // 2:
                return
            try:
                log.checkpoint()
            except OSError as error:
                logger.warning("no checkpoint can be written: a start would read more", reason=str(error))
                self._pause = PAUSE_TICKS
                return

    def _weight(self, log: CheckpointedLog) -> float:
        return log.unsaved_bytes / self._max_bytes + log.unsaved_batches / self._max_batches
