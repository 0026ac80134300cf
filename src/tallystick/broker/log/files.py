"""Writing to a file so that it holds all of a write or nothing of it.

Owns: the append that is undone when the disk is full, the file that is replaced at once. Must not know: what is
written.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

Buffers = Sequence[bytes | memoryview]
DRAFT_SUFFIX: Final = ".new"


def open_for_append(path: Path) -> int:
    """A descriptor for reading and writing; the file is made if it is not there."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def append_all(fd: int, buffers: Buffers, *, end: int) -> int:
    """Write the buffers behind the first ``end`` bytes of a file, and return the bytes written.

    If not all of it can be written, the file is cut back to ``end`` and ``OSError`` raised, so that a full disk leaves
    no torn batch behind. Should even the cut fail, the next append goes over the rest, and recovery cuts it.
    """
    total = sum(map(len, buffers))
    try:
        written = os.pwritev(fd, buffers, end)
        if written != total:
            rest = b"".join(buffers)
            while written < total:
                written += os.pwrite(fd, rest[written:], end + written) or _no_progress()
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(fd, end)
        raise
    return written


def replace_file(path: Path, buffers: Buffers, *, sync: bool = False) -> None:
    """Put a whole file in the place of ``path``: a killed process leaves the old one or the new one.

    With ``sync`` a power loss does, too, once the folder is synced.
    """
    draft = path.with_name(path.name + DRAFT_SUFFIX)
    fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        append_all(fd, buffers, end=0)
        if sync:
            os.fsync(fd)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)
    draft.replace(path)


def _no_progress() -> int:
    raise OSError(errno.ENOSPC, "the file does not grow")
