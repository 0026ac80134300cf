"""The data folder: its format version, its identity and its lock.

Owns: ``tallystick-format.json`` (frozen) and ``tallystick.lock``. Must not know: what the journals and logs hold.

Layout, version 1::

    tallystick-format.json      {"format_version": 1, "cluster_id": ...}
    tallystick.lock             held by the one process that may write here
    topics.journal              topics made, grown and deleted
    coordinators.journal        transactions and groups
    security.journal            users and access control lists; made when it is missing
    topics/<topic id>/<partition>/<first offset>.log
"""

from __future__ import annotations

import base64
import fcntl
import os
import uuid
from pathlib import Path
from typing import Final

import msgspec

from tallystick.broker.log.durability import sync_folder
from tallystick.errors import ConfigurationError, CorruptData

FORMAT_VERSION: Final = 1
FORMAT_FILE: Final = "tallystick-format.json"
LOCK_FILE: Final = "tallystick.lock"
_DRAFT_FILE: Final = "tallystick-format.new"
_OURS: Final = (LOCK_FILE, _DRAFT_FILE)


class Format(msgspec.Struct, frozen=True):
    """The content of the format file."""

    format_version: int
    cluster_id: str


class DataFolder:
    """A locked data folder. ``close`` gives the lock back; so does the end of the process, however it comes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self._lock_fd = _lock(path)
        try:
            self.format = _read_or_make_format(path)
            self.topics.mkdir(exist_ok=True)
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

    def close(self) -> None:
        """Give the lock back."""
        os.close(self._lock_fd)


def _lock(path: Path) -> int:
    fd = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(fd, 32, 0).decode(errors="replace").strip()
        os.close(fd)
        raise ConfigurationError(
            f"the data folder {path} is in use by another broker (pid {owner or 'unknown'})",
            remedy="Stop that one, or give this one a folder of its own.",
        ) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def _read_or_make_format(path: Path) -> Format:
    file = path / FORMAT_FILE
    if not file.exists():
        strangers = sorted(entry.name for entry in path.iterdir() if entry.name not in _OURS)
        if strangers:
            raise ConfigurationError(
                f"{path} is no data folder of this broker, and it is not empty: it holds {strangers[0]!r}",
                remedy="Give the broker an empty folder.",
            )
        return _make_format(path, file)
    try:
        found = msgspec.json.decode(file.read_bytes(), type=Format)
    except msgspec.MsgspecError as error:
        raise CorruptData(f"the format file does not decode: {error}", place=str(file)) from error
    if found.format_version > FORMAT_VERSION:
        raise ConfigurationError(
            f"the data folder {path} has format version {found.format_version}; this program knows {FORMAT_VERSION}",
            remedy="Use a newer Tallystick.",
        )
    return found


def _make_format(path: Path, file: Path) -> Format:
    raw_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
    made = Format(format_version=FORMAT_VERSION, cluster_id=raw_id)
    draft = path / _DRAFT_FILE
    draft.write_bytes(msgspec.json.encode(made))
    with draft.open("rb") as handle:
        os.fsync(handle.fileno())
    draft.replace(file)
    sync_folder(path)
    return made
