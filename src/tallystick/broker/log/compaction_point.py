"""How far a log is compacted, kept over restarts.

Owns: ``compacted`` beside the segments. Must not know: what compaction does.

``gaps_before`` is on the disk before the first segment is replaced: a start then knows where offsets may be missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tallystick.broker.log.sealed_file import SealedFile

FILE: Final = "compacted"
_SEALED: Final = SealedFile(FILE, b"TSCOMPA\x01", 2, "how far the log is compacted")


@dataclass(frozen=True, slots=True)
class CompactionPoint:
    """Before ``cleaned_offset`` no key is there twice; before ``gaps_before`` offsets may be missing."""

    cleaned_offset: int = 0
    gaps_before: int = 0


NEVER_COMPACTED: Final = CompactionPoint()


def write_point(folder: Path, point: CompactionPoint) -> None:
    """``OSError``: disk full, nothing changed."""
    _SEALED.write(folder, point.cleaned_offset, point.gaps_before)


def read_point(folder: Path) -> CompactionPoint:
    """Zeros if the log was never compacted. ``CorruptData`` if the file does not verify."""
    numbers = _SEALED.read(folder)
    return NEVER_COMPACTED if numbers is None else CompactionPoint(*numbers)
