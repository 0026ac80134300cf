"""Putting a compacted segment into the place of those that it was made from.

Owns: the names of the files on the way, the order of the steps. Must not know: what lies in them.

The new file is written whole and synced under one name (``.cleaned``). Its renaming to the next (``.swap``) is the
decision: the name says which offsets it stands for. From there on the rest can be repeated, and a start does so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tallystick.broker.log.durability import sync_folder
from tallystick.broker.log.segment import DOOMED_SUFFIX, segment_path
from tallystick.broker.log.segment_index import INDEX_SUFFIXES

CLEANED_SUFFIX: Final = ".cleaned"
SWAP_SUFFIX: Final = ".swap"


def cleaned_path(folder: Path, base_offset: int) -> Path:
    return folder / f"{base_offset:020d}{CLEANED_SUFFIX}"


def decide(cleaned: Path, *, base_offset: int, end_offset: int) -> Path:
    """From here on the cleaned file is what lies from ``base_offset`` to ``end_offset``. ``OSError``: it is not."""
    swap = cleaned.with_name(f"{base_offset:020d}.{end_offset:020d}{SWAP_SUFFIX}")
    cleaned.replace(swap)
    sync_folder(cleaned.parent)
    return swap


def complete(swap: Path) -> list[Path]:
    """Put it in its place; the files of the segments that were there, under other names, to be removed."""
    folder = swap.parent
    base_offset, end_offset = (int(part) for part in swap.stem.split("."))
    doomed = []
    for file in sorted(folder.iterdir()):
        if not file.stem.isdecimal() or not base_offset <= int(file.stem) < end_offset:
            continue
        if file.suffix in INDEX_SUFFIXES:
            file.unlink()
        elif file.suffix == ".log":
            doomed.append(file.with_name(file.name + DOOMED_SUFFIX))
            file.replace(doomed[-1])
    sync_folder(folder)
    _put(swap, segment_path(folder, base_offset))
    sync_folder(folder)
    return doomed


def _put(swap: Path, path: Path) -> None:
    """Under both names first: at no moment, whatever a power loss leaves of them, is there none."""
    try:
        path.hardlink_to(swap)
    except OSError:  # a file system without links
        swap.replace(path)
        return
    sync_folder(path.parent)
    swap.unlink()
