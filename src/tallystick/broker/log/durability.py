"""When bytes reach the disk: the three fsync policies, and group commit beside the loop.

Owns: which files have unsynced bytes, the one thread that syncs them, who waits for it, and that nothing is promised
any more once a sync has failed. Must not know: what the bytes mean.

Every write has reached the operating system before anyone is answered, so ``kill -9`` never loses an acknowledged
write. The policy is about power loss:

- ``never``: the operating system decides;
- ``interval``: every ``log_flush_interval_ms``;
- ``commit``: before the acknowledgement. All responses that are ready while one sync runs share the next one.

Under every policy a segment is synced once it is closed, in the background, so that a start need not read it again.

A failed sync is the end (``SyncFailed``): the operating system may have marked the lost pages clean, so that the next
sync would report a success that is none.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog

from tallystick.broker.fsync_policy import FsyncPolicy
from tallystick.broker.log.settings import DEFAULTS, LogSettings
from tallystick.errors import FatalError

logger = structlog.get_logger(__name__)


class SyncFailed(FatalError):
    """The disk did not take what was written. The broker stops; what it had acknowledged under ``commit`` is safe."""

    def __init__(self, error: OSError) -> None:
        super().__init__(
            f"fsync failed: {error}. The broker stops, because the system may report the next fsync as a success "
            "without having written anything. Look at the disk and the kernel's log, then start it again: what was "
            "acknowledged under --fsync commit is on disk, and what is torn is found by its checksum"
        )


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
        self.acknowledges_after_sync = policy is FsyncPolicy.COMMIT
        self.syncs = policy is not FsyncPolicy.NEVER
        self._interval_s = settings.log_flush_interval_ms / 1000
        self.written = 0
        self.synced = 0
        self._dirty: dict[SyncedFile, int] = {}
        self._syncing: dict[SyncedFile, int] = {}
        self._retired: list[SyncedFile] = []
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        self._thread_busy = False
        self.before_write: Callable[[int], None] | None = None
        """Asked with the size in bytes before anything is appended to a log or a journal: fault injection raises
        ``OSError`` here, or takes its time."""
        self.before_sync: Callable[[], None] | None = None
        """The same before the disk is synced, in the thread that does it."""
        self.observe_sync: Callable[[float], None] | None = None
        """Told how long each sync in the background took, in seconds, the way to its thread included."""
        self._later: list[tuple[Path, Callable[[], None]]] = []
        self.failure: OSError | None = None
        """The sync that failed; nothing is synced or promised after it."""

    def will_write(self, size_bytes: int) -> None:
        """Called before an append; ``OSError`` if it must not happen, with nothing written."""
        if self.before_write is not None:
            self.before_write(size_bytes)

    def wrote(self, file: SyncedFile, mark: int) -> None:
        """Note that ``file`` has new bytes; ``mark``, which only grows, is handed to ``on_synced`` once they are on
        disk."""
        file.mark = mark
        if self.failure is not None:
            raise SyncFailed(self.failure)
        if not self.syncs:
            return
        self.written += 1
        self._dirty[file] = mark
        if self.policy is FsyncPolicy.COMMIT:
            self._wake.set()

    def sync_now(self, file: SyncedFile) -> None:
        """Sync one file before going on, in the loop: for the rare write that another one must not overtake."""
        if file.synced_mark != file.mark and self.policy is not FsyncPolicy.NEVER:
            with self._fatal():
                os.fdatasync(file.fd)
            file.synced_mark = file.mark

    def sync_file_now(self, path: Path) -> None:
        """Sync a file by its name, in the caller's thread."""
        with self._fatal():
            _sync_path(path)

    def sync_later(self, path: Path, then: Callable[[], None]) -> None:
        """Sync a file in the background, under every policy, and call ``then`` in the loop."""
        self._later.append((path, then))
        if self.policy is not FsyncPolicy.INTERVAL:
            self._wake.set()

    def sync_all_now(self) -> None:
        """Sync everything, in the caller's thread, what the other thread is about included. After a failed sync it does
        nothing."""
        if self.failure is not None:
            return
        with self._fatal():
            for file, mark in (*self._syncing.items(), *self._dirty.items()):
                os.fdatasync(file.fd)
                if file.on_synced:
                    file.on_synced(mark)
            if self.policy is not FsyncPolicy.NEVER:
                later, self._later = self._later, []
                self._sync_files([], later)
                _tell(later)
        self._dirty.clear()
        self.synced = self.written

    @contextlib.contextmanager
    def _fatal(self) -> Iterator[None]:
        """A failed sync ends ``run``, whoever meets it."""
        if self.failure is not None:
            raise SyncFailed(self.failure)
        try:
            yield
        except OSError as error:
            self.failure = error
            self._wake.set()
            raise SyncFailed(error) from error

    def retire(self, file: SyncedFile) -> None:
        """Close the file, as soon as the thread is not syncing it."""
        self._dirty.pop(file, None)
        if self._thread_busy:
            self._retired.append(file)
        elif not file.closed:
            file.closed = True
            os.close(file.fd)

    def close(self) -> None:
        """Close what was retired while the thread was at work, once it is not any more."""
        retired, self._retired = self._retired, []
        for file in retired:
            self.retire(file)

    async def wait(self, written: int) -> None:
        """Return when everything up to the write numbered ``written`` is on disk (policy ``commit`` only)."""
        if not self.acknowledges_after_sync or self.synced >= written:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((written, future))
        await future

    async def run(self) -> None:
        """Sync for ever. ``SyncFailed`` when the disk fails, here or in whoever synced something at once."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="fsync") as thread:
            while True:
                await self._wait_for_work()
                if self.failure is not None:
                    raise SyncFailed(self.failure)
                batch, upto = self._dirty, self.written
                later, self._later = self._later, []
                self._dirty = {}
                self._syncing = batch
                self._thread_busy = True
                started = time.perf_counter()
                try:
                    await loop.run_in_executor(thread, self._sync_files, list(batch), later)
                except OSError as error:
                    raise SyncFailed(error) from error
                finally:
                    self._thread_busy = False
                    self._syncing = {}
                if self.observe_sync is not None and batch:
                    self.observe_sync(time.perf_counter() - started)
                self._settle(batch, upto)
                _tell(later)

    async def _wait_for_work(self) -> None:
        if self.policy is FsyncPolicy.INTERVAL:  # woken by a failure only
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s):
                    await self._wake.wait()
        else:
            await self._wake.wait()
        self._wake.clear()

    def _sync_files(self, files: list[SyncedFile], later: list[tuple[Path, Callable[[], None]]]) -> None:
        """In the thread. What fails is noted here, because the loop may have stopped waiting for it."""
        try:
            if self.before_sync is not None:
                self.before_sync()
            for file in files:
                os.fdatasync(file.fd)
            for path, _ in later:
                with contextlib.suppress(FileNotFoundError):  # removed since
                    _sync_path(path)
        except OSError as error:
            self.failure = error
            raise

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


def _sync_path(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fdatasync(fd)
    finally:
        os.close(fd)


def _tell(later: list[tuple[Path, Callable[[], None]]]) -> None:
    for path, then in later:
        try:
            then()
        except OSError as error:
            logger.warning("it is not noted that a file is on disk", file=str(path), reason=str(error))


def sync_folder(folder: Path) -> None:
    """Make a new, renamed or removed name in this folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
