"""When bytes reach the disk: the three fsync policies, and group commit beside the loop.

Owns: which files have unsynced bytes, the one thread that syncs them, and who waits for it. Must not know: what the
bytes mean.

Every write has reached the operating system before anyone is answered, so ``kill -9`` never loses an acknowledged
write. The policy is about power loss:

- ``never``: the operating system decides;
- ``interval``: every ``log_flush_interval_ms``;
- ``commit``: before the acknowledgement. All responses that are ready while one sync runs share the next one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tallystick.broker.fsync_policy import FsyncPolicy
from tallystick.broker.log.settings import DEFAULTS, LogSettings


class SyncedFile:
    """A file that is written by the loop and synced by the thread. ``on_synced`` gets the mark of the last write."""

    __slots__ = ("closed", "fd", "mark", "on_synced", "synced_mark")

    def __init__(self, fd: int, on_synced: Callable[[int], None] | None = None) -> None:
        self.fd = fd
        self.mark = 0
        self.synced_mark = 0
        self.on_synced = on_synced
        self.closed = False


class Durability:
    """Counts writes, syncs them by policy, and lets responses wait for a write's turn."""

    def __init__(self, policy: FsyncPolicy, settings: LogSettings = DEFAULTS) -> None:
        self.policy = policy
        self._interval_s = settings.log_flush_interval_ms / 1000
        self.written = 0
        self.synced = 0
        self._dirty: dict[SyncedFile, int] = {}
        self._retired: list[SyncedFile] = []
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        self._thread_busy = False
        self.before_write: Callable[[int], None] | None = None
        """Asked with the size in bytes before anything is appended to a log or a journal: fault injection raises
        ``OSError`` here, or takes its time."""
        self.before_sync: Callable[[], None] | None = None
        """The same before the disk is synced, in the thread that does it."""

    @property
    def acknowledges_after_sync(self) -> bool:
        return self.policy is FsyncPolicy.COMMIT

    @property
    def syncs(self) -> bool:
        return self.policy is not FsyncPolicy.NEVER

    def will_write(self, size_bytes: int) -> None:
        """Called before an append; ``OSError`` if it must not happen, with nothing written."""
        if self.before_write is not None:
            self.before_write(size_bytes)

    def wrote(self, file: SyncedFile, mark: int) -> None:
        """Note that ``file`` has new bytes; ``mark``, which only grows, is handed to ``on_synced`` once they are on
        disk."""
        file.mark = mark
        if self.policy is FsyncPolicy.NEVER:
            return
        self.written += 1
        self._dirty[file] = mark
        if self.policy is FsyncPolicy.COMMIT:
            self._wake.set()

    def sync_now(self, file: SyncedFile) -> None:
        """Sync one file before going on, in the loop: for the rare write that another one must not overtake."""
        if file.synced_mark != file.mark and self.policy is not FsyncPolicy.NEVER:
            os.fdatasync(file.fd)
            file.synced_mark = file.mark

    def sync_all_now(self) -> None:
        """Sync everything, in the caller's thread: at shutdown."""
        for file, mark in self._dirty.items():
            os.fdatasync(file.fd)
            if file.on_synced:
                file.on_synced(mark)
        self._dirty.clear()
        self.synced = self.written

    def retire(self, file: SyncedFile) -> None:
        """Close the file, as soon as the thread is not syncing it."""
        self._dirty.pop(file, None)
        if self._thread_busy:
            self._retired.append(file)
        elif not file.closed:
            file.closed = True
            os.close(file.fd)

    async def wait(self, written: int) -> None:
        """Return when everything up to the write numbered ``written`` is on disk (policy ``commit`` only)."""
        if not self.acknowledges_after_sync or self.synced >= written:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((written, future))
        await future

    async def run(self) -> None:
        """Sync for ever. An error from the disk is raised: after a failed fsync nothing may be promised any more."""
        if self.policy is FsyncPolicy.NEVER:
            return
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="fsync") as thread:
            while True:
                if self.policy is FsyncPolicy.COMMIT:
                    await self._wake.wait()
                    self._wake.clear()
                else:
                    await asyncio.sleep(self._interval_s)
                batch, upto = self._dirty, self.written
                self._dirty = {}
                self._thread_busy = True
                try:
                    await loop.run_in_executor(thread, _sync_files, list(batch), self.before_sync)
                finally:
                    self._thread_busy = False
                self._settle(batch, upto)

    def _settle(self, batch: dict[SyncedFile, int], upto: int) -> None:
        self.synced = upto
        for file in self._retired:
            self.retire(file)
        self._retired.clear()
        for file, mark in batch.items():
            file.synced_mark = max(file.synced_mark, mark)
            if file.on_synced is not None and not file.closed:
                file.on_synced(mark)
        waiting = self._waiters
        self._waiters = [(written, future) for written, future in waiting if written > upto]
        for written, future in waiting:
            if written <= upto and not future.done():
                future.set_result(None)


def _sync_files(files: list[SyncedFile], before: Callable[[], None] | None) -> None:
    if before is not None:
        before()
    for file in files:
        os.fdatasync(file.fd)


def sync_folder(folder: Path) -> None:
    """Make a new, renamed or removed name in this folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
