"""The data folder: its format version, its identity and its lock.

Owns: ``tallystick-format.json`` (frozen), ``tallystick-run.json``, ``tallystick.lock``, and what becomes of a folder
of an older format. Must not know: what the journals and logs hold.

Layout, version 2::

    tallystick-format.json      {"format_version": 2, "cluster_id": ...}
    tallystick-run.json         the last run: which start of the machine, and whether it ended in order
    tallystick.lock             held by the one process that may write here
    topics.journal              topics made, grown and deleted
    coordinators.journal        transactions and groups
    security.journal            users and access control lists; made when it is missing
    configs.journal             broker configurations changed while it ran; made when it is missing
    topics/<topic id>/<partition>/<first offset>.log
                                  <first offset>.index, .txnindex    rebuilt from the log if they do not verify
                                  <offset>.snapshot                  the producers before that offset; likewise
                                  start-offset                       where the log begins, if not at its first segment
                                  compacted                          how far the log is compacted

Version 1 had neither indexes nor snapshots nor the run file: the first start makes them.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import structlog

from tallystick.broker.log.boots import UNKNOWN_BOOT, Boots, boot_id
from tallystick.broker.log.durability import sync_folder
from tallystick.errors import ConfigurationError, CorruptData

logger = structlog.get_logger(__name__)

FORMAT_VERSION: Final = 2
FORMAT_FILE: Final = "tallystick-format.json"
RUN_FILE: Final = "tallystick-run.json"
LOCK_FILE: Final = "tallystick.lock"
_DRAFT_FILE: Final = "tallystick-format.new"
_OURS: Final = (LOCK_FILE, _DRAFT_FILE)


class Format(msgspec.Struct, frozen=True):
    """The content of the format file."""

    format_version: int
    cluster_id: str


class Run(msgspec.Struct, frozen=True):
    """The content of the run file."""

    boot_id: str
    clean: bool


def _nothing_to_convert(_: Path) -> None:
    """Version 1 to 2: indexes and snapshots are made by the first start, which reads every log once."""


MIGRATIONS: Final[dict[int, Callable[[Path], None]]] = {1: _nothing_to_convert}
"""What makes of a folder of this version one of the next. It may be interrupted, and is run again then."""


class DataFolder:
    """A locked data folder. ``close`` gives the lock back; so does the end of the process, however it comes.

    An older format is brought up to date by ``opened``, once its content was read without an error: until then the
    program that wrote it can still open it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock_fd = _lock(path)
        except OSError as error:
            raise ConfigurationError(
                f"the data folder {path} cannot be written: {error.strerror}",
                remedy="The broker's user needs to read and write it, on a disk that is not read-only and not full.",
            ) from error
        try:
            self.format = _read_or_make_format(path)
            run = _read_run(path / RUN_FILE)
            self.boots = _boots_after(run)
            self.was_clean = run is not None and run.clean
            self.topics.mkdir(exist_ok=True)
            for version in range(self.format.format_version, FORMAT_VERSION):
                logger.info("the data folder is brought up to date", folder=str(path), from_version=version)
                MIGRATIONS[version](path)
        except BaseException:
            os.close(self._lock_fd)
            raise

    @property
    def topics(self) -> Path:
        return self.path / "topics"

    @property
    def topics_journal(self) -> Path:
        return self.path / "topics.journal"

    @property
    def coordinators_journal(self) -> Path:
        return self.path / "coordinators.journal"

    @property
    def security_journal(self) -> Path:
        return self.path / "security.journal"

    @property
    def configs_journal(self) -> Path:
        return self.path / "configs.journal"

    def opened(self) -> None:
        """Everything in it was read: from now on it is a folder of the present format, written by this run."""
        if self.format.format_version != FORMAT_VERSION:
            self.format = msgspec.structs.replace(self.format, format_version=FORMAT_VERSION)
            _write(self.path, FORMAT_FILE, self.format)
        _write(self.path, RUN_FILE, Run(self.boots.present.hex(), clean=False))

    def close(self, *, clean: bool = False) -> None:
        """Give the lock back. ``clean``: everything was written that this run had to write, which is noted."""
        if clean:
            try:
                _write(self.path, RUN_FILE, Run(self.boots.present.hex(), clean=True))
            except OSError as error:
                logger.warning("it cannot be noted that the broker ended in order", reason=str(error))
        os.close(self._lock_fd)


class FolderInUse(ConfigurationError):
    """Another process has the data folder."""


@dataclass(frozen=True, slots=True)
class LookedAt:
    """A data folder that nobody writes to and that is not changed."""

    path: Path
    format: Format
    boots: Boots
    was_clean: bool


@contextlib.contextmanager
def looked_at(path: Path) -> Iterator[LookedAt]:
    """Keep brokers out of the folder for as long as the block lasts. ``ConfigurationError``: one runs on it, or it is
    no data folder."""
    if not (path / FORMAT_FILE).exists():
        raise ConfigurationError(f"{path} is no data folder of a broker: it has no {FORMAT_FILE}")
    lock_fd = -1
    try:
        with contextlib.suppress(FileNotFoundError):  # a copy of a folder needs none
            lock_fd = os.open(path / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
            _take_lock(lock_fd, fcntl.LOCK_SH, path, remedy="Stop it first.")
        run = _read_run(path / RUN_FILE)
        boots = _boots_after(run)
        yield LookedAt(path, _read_format(path), boots, was_clean=run is not None and run.clean)
    finally:
        if lock_fd >= 0:
            os.close(lock_fd)


def _boots_after(run: Run | None) -> Boots:
    return Boots(present=boot_id(), previous=UNKNOWN_BOOT if run is None else bytes.fromhex(run.boot_id))


def _lock(path: Path) -> int:
    fd = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take_lock(fd, fcntl.LOCK_EX, path, remedy="Stop that one, or give this one a folder of its own.")
    except FolderInUse:
        os.close(fd)
        raise
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def _take_lock(fd: int, kind: int, path: Path, *, remedy: str) -> None:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(fd, 32, 0).decode(errors="replace").strip()
        raise FolderInUse(
            f"the data folder {path} is in use by another broker (pid {owner or 'unknown'})", remedy=remedy
        ) from None


def _read_or_make_format(path: Path) -> Format:
    file = path / FORMAT_FILE
    if not file.exists():
        strangers = sorted(entry.name for entry in path.iterdir() if entry.name not in _OURS)
        if strangers:
            raise ConfigurationError(
                f"{path} is no data folder of this broker, and it is not empty: it holds {strangers[0]!r}",
                remedy="Give the broker an empty folder.",
            )
        return _make_format(path)
    return _read_format(path)


def _read_format(path: Path) -> Format:
    file = path / FORMAT_FILE
    try:
        found = msgspec.json.decode(file.read_bytes(), type=Format)
    except msgspec.MsgspecError as error:
        raise CorruptData(f"the format file does not decode: {error}", place=str(file)) from error
    if found.format_version > FORMAT_VERSION:
        raise ConfigurationError(
            f"the data folder {path} has format version {found.format_version}; this program knows {FORMAT_VERSION}",
            remedy="Use a newer Tallystick.",
        )
    if found.format_version < min(MIGRATIONS):
        raise ConfigurationError(
            f"the data folder {path} has format version {found.format_version}, older than any that can be converted",
            remedy="Open it with an older Tallystick first.",
        )
    return found


def _make_format(path: Path) -> Format:
    raw_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
    made = Format(format_version=FORMAT_VERSION, cluster_id=raw_id)
    _write(path, FORMAT_FILE, made)
    return made


def _write(folder: Path, name: str, content: Format | Run) -> None:
    draft = folder / _DRAFT_FILE
    draft.write_bytes(msgspec.json.encode(content))
    with draft.open("rb") as handle:
        os.fsync(handle.fileno())
    draft.replace(folder / name)
    sync_folder(folder)


def _read_run(file: Path) -> Run | None:
    """The last run; None if there was none that this format tells of."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Run)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
