"""A small file of numbers beside the segments: a magic, the numbers, a CRC-32C over both.

Owns: that layout, written so that the whole of it is on the disk or none of it. Must not know: what the numbers mean.
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

_CRC_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class SealedFile:
    """``magic`` is eight bytes, ``count`` how many signed 64-bit numbers follow; ``holds`` says what, in an error."""

    name: str
    magic: bytes
    count: int
    holds: str

    def write(self, folder: Path, *numbers: int) -> None:
        """``OSError``: disk full, nothing changed."""
        content = self._layout.pack(self.magic, *numbers)
        replace_file(folder / self.name, [content, crc32c(content).to_bytes(_CRC_BYTES, "little")], sync=True)
        sync_folder(folder)

    def read(self, folder: Path) -> tuple[int, ...] | None:
        """The numbers; None if there is no file. ``CorruptData`` if it does not verify, or is another file."""
        file = folder / self.name
        try:
            raw = file.read_bytes()
        except FileNotFoundError:
            return None
        content, crc = raw[:-_CRC_BYTES], raw[-_CRC_BYTES:]
        if len(content) != self._layout.size or crc32c(content) != int.from_bytes(crc, "little"):
            raise CorruptData(f"{self.holds} does not verify", place=str(file))
        magic, *numbers = self._layout.unpack(content)
        if magic != self.magic:
            raise CorruptData(f"this does not hold {self.holds}", place=str(file))
        return tuple(numbers)

    @property
    def _layout(self) -> struct.Struct:
        return struct.Struct(f"<8s{self.count}q")
