"""Where a log begins, when that is not where its first segment begins.

Owns: ``start-offset`` beside the segments. Must not know: why records were given up.

It is written, and on the disk, before anything is removed: whatever lies before it may be there still, in part, after
a crash, and is not seen. It only rises.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tallystick.broker.log.sealed_file import SealedFile

FILE: Final = "start-offset"
_SEALED: Final = SealedFile(FILE, b"TSSTART\x01", 1, "the log's start offset")


def write_start_offset(folder: Path, offset: int) -> None:
    """Let the log begin at ``offset``. ``OSError``: disk full, nothing changed."""
    _SEALED.write(folder, offset)


def read_start_offset(folder: Path) -> int:
    """Where the log begins at the earliest; 0 if nothing says so. ``CorruptData`` if the file does not verify."""
    numbers = _SEALED.read(folder)
    return 0 if numbers is None else numbers[0]
