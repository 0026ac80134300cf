"""The end of a file that a start cuts off, and what it keeps of it.

Owns: the cut, the copy, what is said of it. Must not know: why the bytes are not believed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TornTail:
    """What a start cut off the end of a file; ``kept`` is the file with the bytes, where they were kept."""

    path: str
    at_bytes: int
    cut_bytes: int
    reason: str
    kept: str = ""


def cut_off(path: Path, position: int, length: int, reason: str, *, kept: str) -> TornTail:
    """Cut the file at ``position``; the rest is copied to ``kept`` before, if that is a name."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        if kept:
            _copy(fd, position, length, Path(kept))
        os.ftruncate(fd, position)
        os.fsync(fd)
    finally:
        os.close(fd)
    return TornTail(str(path), position, length - position, reason, kept)


def _copy(fd: int, start: int, end: int, to: Path) -> None:
    with to.open("wb") as file:
        while start < end:
            data = os.pread(fd, min(1 << 20, end - start), start)
            if not data:
                break
            file.write(data)
            start += len(data)
        file.flush()
        os.fsync(file.fileno())
