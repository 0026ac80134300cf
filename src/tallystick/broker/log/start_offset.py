"""Where a log begins, when that is not where its first segment begins.

Owns: ``start-offset`` beside the segments. Must not know: why records were given up.

It is written, and on the disk, before anything is removed: whatever lies before it may be there still, in part, after
a crash, and is not seen. It only rises.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

from crc32c import crc32c

from tallystick.broker.log.durability import sync_folder
from tallystick.broker.log.files import replace_file
from tallystick.errors import CorruptData

FILE: Final = "start-offset"
_CONTENT: Final = struct.Struct("<8sq")
_MAGIC: Final = b"TSSTART\x01"
_CRC_BYTES: Final = 4


def write_start_offset(folder: Path, offset: int) -> None:
    """Let the log begin at ``offset``. ``OSError``: disk full, nothing changed."""
    content = _CONTENT.pack(_MAGIC, offset)
    replace_file(folder / FILE, [content, crc32c(content).to_bytes(_CRC_BYTES, "little")], sync=True)
    sync_folder(folder)


def read_start_offset(folder: Path) -> int:
    """Where the log begins at the earliest; 0 if nothing says so. ``CorruptData`` if the file does not verify."""
    file = folder / FILE
    try:
        raw = file.read_bytes()
    except FileNotFoundError:
        return 0
    content, crc = raw[:-_CRC_BYTES], raw[-_CRC_BYTES:]
    if len(content) != _CONTENT.size or crc32c(content) != int.from_bytes(crc, "little"):
        raise CorruptData("the log's start offset does not verify", place=str(file))
    magic, offset = _CONTENT.unpack(content)
    if magic != _MAGIC:
        raise CorruptData("this is no start offset", place=str(file))
    return int(offset)
