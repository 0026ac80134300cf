"""What a folder looks like at each moment at which its process, or the machine, may die.

Owns: the seam in ``os`` through which every change of a file passes, images of the folder at such a moment, and what of
it is on disk. Must not know: whose folder it is.

A killed process leaves behind whatever it handed to the operating system: the image is a copy. A machine without power
leaves what was synced, and of the rest as much or little as it likes: ``PowerLoss`` chooses by a seed.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

_BY_FD: Final = ("pwrite", "pwritev", "ftruncate", "fsync", "fdatasync")
_BY_PATH: Final = ("replace", "rename", "unlink", "mkdir", "rmdir")
SYNCS: Final = frozenset({"fsync", "fdatasync"})


@dataclass(frozen=True, slots=True)
class Change:
    """One change that is about to be made. ``data`` and ``at`` are those of a write."""

    call: str
    path: Path
    fd: int = -1
    data: bytes = b""
    at: int = 0

    @property
    def is_append(self) -> bool:
        """A record of a journal or a batch of a log, and nothing beside it."""
        return self.call == "pwritev" and self.path.suffix in {".log", ".journal"}


OnChange = Callable[[Change], None]


@contextlib.contextmanager
def traced(root: Path, on_change: OnChange, on_created: OnChange | None = None) -> Iterator[None]:
    """Tell of every change below ``root`` just before it is made, and of every new file just after."""
    trace = _Trace(root, on_change, on_created)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", trace.open)
        patch.setattr(os, "close", trace.close)
        for name in _BY_FD:
            patch.setattr(os, name, trace.by_fd(name))
        for name in _BY_PATH:
            patch.setattr(os, name, trace.by_path(name))
        yield


class _Trace:
    """What stands in for functions of ``os``."""

    def __init__(self, root: Path, on_change: OnChange, on_created: OnChange | None) -> None:
        self._root, self._on_change, self._on_created = root, on_change, on_created
        self._really = {name: getattr(os, name) for name in (*_BY_FD, *_BY_PATH, "open", "close")}
        self._paths: dict[int, Path] = {}
        self._telling = False

    def _tell(self, listener: OnChange, change: Change) -> None:
        if self._telling or not change.path.is_relative_to(self._root):
            return
        self._telling = True  # what the listener does to the disk is its own affair
        try:
            listener(change)
        finally:
            self._telling = False

    def open(self, path: Any, flags: int, *rest: Any, **named: Any) -> int:
        is_ours = isinstance(path, str | Path)
        new = is_ours and bool(flags & os.O_CREAT) and not Path(path).exists()
        if new:
            self._tell(self._on_change, Change("create", Path(path)))
        fd: int = self._really["open"](path, flags, *rest, **named)
        if is_ours:
            self._paths[fd] = Path(path)
        if new and self._on_created is not None:
            self._tell(self._on_created, Change("open", Path(path), fd))
        return fd

    def close(self, fd: int) -> None:
        self._paths.pop(fd, None)
        self._really["close"](fd)

    def by_fd(self, name: str) -> Callable[..., Any]:
        def call(fd: int, *rest: Any) -> Any:
            data = rest[0] if name == "pwrite" else b"".join(rest[0]) if name == "pwritev" else b""
            path = self._paths.get(fd) or _path_of(fd)
            self._tell(self._on_change, Change(name, path, fd, bytes(data), rest[1] if data else 0))
            return self._really[name](fd, *rest)

        return call

    def by_path(self, name: str) -> Callable[..., Any]:
        def call(path: Any, *rest: Any, dir_fd: int | None = None, **named: Any) -> Any:
            full = Path(path)
            if dir_fd is not None:
                full, named = _path_of(dir_fd) / path, {**named, "dir_fd": dir_fd}
            self._tell(self._on_change, Change(name, full))
            result = self._really[name](path, *rest, **named)
            if name in {"replace", "rename"}:  # who has the file open goes on under its new name
                self._paths.update({fd: Path(rest[0]) for fd, known in self._paths.items() if known == full})
            return result

        return call


def _path_of(fd: int) -> Path:
    """Of a descriptor that ``io`` opened."""
    return Path(f"/proc/self/fd/{fd}").readlink()


def copy_after_kill(root: Path, to: Path, *, torn: Change | None = None, kept_bytes: int = 0) -> None:
    """The folder as a killed process leaves it; with so many bytes of the write that it was killed in."""
    shutil.copytree(root, to)
    if torn is not None:
        with (to / torn.path.relative_to(root)).open("r+b") as file:
            file.seek(torn.at)
            file.write(torn.data[:kept_bytes])


@dataclass(slots=True)
class PowerLoss:
    """Follows what is on disk below ``root``. Feed it with ``traced``."""

    root: Path
    contents: dict[int, bytes] = field(default_factory=dict)
    """By inode: the bytes at its last sync."""
    names: dict[int, dict[str, int]] = field(default_factory=dict)
    """By the inode of a folder: its entries at its last sync."""

    def on_change(self, change: Change) -> None:
        if change.call in SYNCS:
            status = os.fstat(change.fd)
            if stat.S_ISDIR(status.st_mode):
                self.names[status.st_ino] = _entries(change.path)
            else:
                self.contents[status.st_ino] = os.pread(change.fd, status.st_size, 0)

    def on_created(self, change: Change) -> None:
        """The system may give a number again."""
        self.contents.pop(os.fstat(change.fd).st_ino, None)

    def copy(self, to: Path, *, seed: int) -> None:
        """The folder after the power came back. Seed 0 keeps nothing but what was synced."""
        self._copy(self.root, to, random.Random(seed), nothing_more=seed == 0)

    def _copy(self, folder: Path, to: Path, dice: random.Random, *, nothing_more: bool) -> None:
        to.mkdir()
        present = _entries(folder)
        kept = dict(self.names.get(folder.stat().st_ino, {}))
        if not nothing_more:
            for name in sorted(set(present) | set(kept)):
                if present.get(name) != kept.get(name) and dice.random() < 0.5:
                    kept.pop(name, None)
                    if name in present:
                        kept[name] = present[name]
        for name, inode in kept.items():
            path = folder / name
            if present.get(name) == inode and path.is_dir():
                self._copy(path, to / name, dice, nothing_more=nothing_more)
            elif present.get(name) == inode:
                (to / name).write_bytes(self._bytes(path, inode, dice, nothing_more=nothing_more))
            elif inode in self.contents:
                (to / name).write_bytes(self.contents[inode])

    def _bytes(self, path: Path, inode: int, dice: random.Random, *, nothing_more: bool) -> bytes:
        synced, now = self.contents.get(inode, b""), path.read_bytes()
        if nothing_more:
            return synced
        match dice.randrange(4):
            case 0:
                return synced
            case 1:
                return now
            case 2:  # the length arrived, the bytes did not
                return synced + bytes(max(len(now) - len(synced), 0))
        return now[: max(len(synced), dice.randint(0, len(now)))]


def _entries(folder: Path) -> dict[str, int]:
    return {entry.name: entry.inode() for entry in os.scandir(folder)}
