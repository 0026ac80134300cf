"""How far a log is compacted, kept over restarts.

Owns: ``compacted`` beside the segments. Must not know: what compaction does.

``gaps_before`` is on the disk before the first segment is replaced: a start then knows where offsets may be missing.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from crc32c import crc32c

from tallystick.broker.log.durability import sync_folder
from tallystick.broker.log.files import replace_file
from tallystick.errors import CorruptData

FILE: Final = "compacted"
_CONTENT: Final = struct.Struct("<8sqq")
_MAGIC: Final = b"TSCOMPA\x01"
_CRC_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class CompactionPoint:
    """Before ``cleaned_offset`` no key is there twice; before ``gaps_before`` offsets may be missing."""

    cleaned_offset: int = 0
    gaps_before: int = 0


NEVER_COMPACTED: Final = CompactionPoint()


def write_point(folder: Path, point: CompactionPoint) -> None:
    """``OSError``: disk full, nothing changed."""
    content = _CONTENT.pack(_MAGIC, point.cleaned_offset, point.gaps_before)
    replace_file(folder / FILE, [content, crc32c(content).to_bytes(_CRC_BYTES, "little")], sync=True)
    sync_folder(folder)


def read_point(folder: Path) -> CompactionPoint:
    """Zeros if the log was never compacted. ``CorruptData`` if the file does not verify."""
    file = folder / FILE
    try:
        raw = file.read_bytes()
    except FileNotFoundError:
        return NEVER_COMPACTED
    content, crc = raw[:-_CRC_BYTES], raw[-_CRC_BYTES:]
    if len(content) != _CONTENT.size or crc32c(content) != int.from_bytes(crc, "little"):
        raise CorruptData("how far the log is compacted does not verify", place=str(file))
    _, cleaned_offset, gaps_before = _CONTENT.unpack(content)
    return CompactionPoint(cleaned_offset, gaps_before)
