"""When logs are compacted: the dirtiest first, a little at a time.

Owns: the choice between partitions, the pace, what happens to a log that cannot be compacted. Must not know: what a
step does.

The work is done in the loop, in slices of a few milliseconds with rests between them: a thread would hold the
interpreter just as long, and the log would need locks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, Protocol
from weakref import WeakSet

import structlog

from tallystick.broker.log.compaction.choice import Due
from tallystick.broker.log.compaction.work import WAITS, Compaction, LogChanged, Work
from tallystick.broker.log.settings import LogSettings
from tallystick.clock import Clock
from tallystick.errors import TallystickError

logger = structlog.get_logger(__name__)

SLICE_MS: Final = 2
REST_MS: Final = 4
"""A third of one processor while there is something to compact; a request waits for a slice at most."""
WAIT_MS: Final = 20
"""How often it is looked whether the disk has what it was given."""


class Compacted(Protocol):
    """What a partition offers."""

    topic: str
    index: int
    deleted: bool

    @property
    def file_delete_delay_ms(self) -> int: ...

    def compaction_due(self, now_ms: int) -> Due | None: ...

    def compaction(self, due: Due, *, now_ms: int, buffer_bytes: int) -> Compaction: ...


class LogCleaner:
    """Looks for work each ``log.cleaner.backoff.ms``. ``on_doomed`` gets files to be removed, and after how long."""

    def __init__(
        self,
        settings: LogSettings,
        clock: Clock,
        partitions: Callable[[], Iterable[Compacted]],
        on_doomed: Callable[[Sequence[Path], int], None],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._partitions = partitions
        self._on_doomed = on_doomed
        self._given_up: WeakSet[Compacted] = WeakSet()
        """Partitions whose log could not be read: a person has to look at them."""
        self._at_work: tuple[Compacted, Compaction, Work] | None = None

    async def run(self) -> None:
        """Compact for ever."""
        if not self._settings.log_cleaner_enable:
            return
        while True:
            rest_ms = self.slice(ends_at=time.monotonic() + SLICE_MS / 1000)
            await asyncio.sleep(rest_ms / 1000)

    def slice(self, *, ends_at: float) -> int:
        """Work until ``ends_at`` (of ``time.monotonic``); for how many milliseconds there is nothing to do then."""
        at_work = self._at_work or self._begin()
        if at_work is None:
            return self._settings.log_cleaner_backoff_ms
        partition, compaction, work = at_work
        self._at_work = None
        if partition.deleted:
            work.close()
            return REST_MS
        try:
            waits = next(work)
            while waits is not WAITS and time.monotonic() < ends_at:
                waits = next(work)
        except StopIteration:
            self._ended(partition, compaction)
        except LogChanged:
            logger.info("a log changed while it was compacted", topic=partition.topic, partition=partition.index)
        except OSError as error:
            logger.warning(
                "a log is not compacted for now", topic=partition.topic, partition=partition.index, reason=str(error)
            )
            return self._settings.log_cleaner_backoff_ms
        except TallystickError:
            self._given_up.add(partition)
            logger.exception(
                "a log cannot be compacted until the next start", topic=partition.topic, partition=partition.index
            )
        else:
            self._at_work = at_work
            return WAIT_MS if waits is WAITS else REST_MS
        return REST_MS

    def _begin(self) -> tuple[Compacted, Compaction, Work] | None:
        now_ms = self._clock.now_ms()
        found: list[tuple[float, Compacted, Due]] = []
        for partition in self._partitions():
            due = None if partition in self._given_up else partition.compaction_due(now_ms)
            if due is not None:
                found.append((due.dirty_ratio, partition, due))
        if not found:
            return None
        _, partition, due = max(found, key=lambda row: row[0])
        buffer_bytes = self._settings.log_cleaner_dedupe_buffer_size
        compaction = partition.compaction(due, now_ms=now_ms, buffer_bytes=buffer_bytes)
        return partition, compaction, compaction.run()

    def _ended(self, partition: Compacted, compaction: Compaction) -> None:
        outcome = compaction.outcome
        self._on_doomed(outcome.doomed, partition.file_delete_delay_ms)
        logger.info(
            "a log was compacted",
            topic=partition.topic,
            partition=partition.index,
            to_offset=outcome.end,
            bytes_before=outcome.bytes_before,
            bytes_after=outcome.bytes_after,
        )
