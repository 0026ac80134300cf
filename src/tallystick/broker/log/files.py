"""Writing to a file so that it holds all of a write or nothing of it.

Owns: the append that is undone when the disk is full. Must not know: what is written.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

Buffers = Sequence[bytes | memoryview]


def open_for_append(path: Path) -> int:
    """A descriptor for reading and appending; the file is made if it is not there."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def append_all(fd: int, buffers: Buffers, *, end: int) -> int:
    """Append the buffers to a file that is ``end`` bytes long, and return the bytes written.

    If not all of it can be written, the file is cut back to ``end`` and ``OSError`` raised, so that a full disk leaves
    no torn batch behind.
    """
    total = sum(len(buffer) for buffer in buffers)
    try:
        written = os.writev(fd, buffers)
        if written != total:
            written += _append_rest(fd, b"".join(buffers)[written:])
    except OSError:
        os.ftruncate(fd, end)
        raise
    return written


def _append_rest(fd: int, rest: bytes) -> int:
    done = 0
    while done < len(rest):
        step = os.write(fd, rest[done:])
        if step == 0:
            raise OSError(errno.ENOSPC, "the file does not grow")
        done += step
    return done
