"""When logs are looked through for what is old, and when its files leave the disk.

Owns: the interval, the pace, the files that wait for their end. Must not know: what is old.

A look at one partition takes microseconds, so it happens in the loop; a few at each tick, so that a node with thousands
of them goes on answering meanwhile.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, Protocol

import structlog

from tallystick.broker.log.settings import LogSettings

logger = structlog.get_logger(__name__)

PARTITIONS_PER_TICK: Final = 50


class HasOldSegments(Protocol):
    """What a partition offers."""

    @property
    def deleted(self) -> bool: ...

    def drop_old_segments(self, now_ms: int) -> Sequence[Path]:
        """Take what is old out of the log; the files, which still lie there under another name."""
        ...

    @property
    def file_delete_delay_ms(self) -> int: ...


class LogRetention:
    """Looks at every partition each ``log.retention.check.interval.ms``."""

    def __init__(self, settings: LogSettings) -> None:
        self._every_ms = settings.log_retention_check_interval_ms
        self._next_look_ms: int | None = None
        self._unseen: deque[HasOldSegments] = deque()
        self._doomed: list[tuple[int, Path]] = []

    def tick(self, partitions: Callable[[], Iterable[HasOldSegments]], *, now_ms: int, monotonic_ms: int) -> None:
        """Look, as far as it is time to. ``now_ms`` is the wall clock's, by which records are old."""
        if self._next_look_ms is None:
            self._next_look_ms = monotonic_ms + self._every_ms
        if not self._unseen and monotonic_ms >= self._next_look_ms:
            self._next_look_ms = monotonic_ms + self._every_ms
            self._unseen.extend(partitions())
        for _ in range(min(PARTITIONS_PER_TICK, len(self._unseen))):
            partition = self._unseen.popleft()
            if not partition.deleted:
                self.doom(partition.drop_old_segments(now_ms), at_ms=monotonic_ms + partition.file_delete_delay_ms)
        if self._doomed:
            self._remove_due(monotonic_ms)

    def doom(self, paths: Iterable[Path], *, at_ms: int) -> None:
        """Remove these files at that time, of the monotonic clock."""
        self._doomed += [(at_ms, path) for path in paths]

    def _remove_due(self, monotonic_ms: int) -> None:
        due = [path for due_ms, path in self._doomed if due_ms <= monotonic_ms]
        self._doomed = [row for row in self._doomed if row[0] > monotonic_ms]
        for path in due:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                logger.warning(
                    "an old segment stays on the disk until the next start", file=str(path), reason=str(error)
                )
