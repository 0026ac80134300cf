"""Snapshots of what a partition's log adds up to, so that a start does not read the whole log again.

Owns: ``<offset>.snapshot`` beside the log: the state before the batch at that offset, opaque bytes with checksums. Must
not know: what the state is.

A snapshot lies at the first offset of every segment but the first, as long as the segment is there, and one within the
segment that is written to. One that does not verify counts as missing: the state is replayed from an earlier one.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from crc32c import crc32c

from tallystick.broker.log.files import replace_file

SUFFIX: Final = ".snapshot"
_MAGIC: Final = b"TSSTATE\x01"
_HEADER: Final = struct.Struct("<8sqII")
"""Magic, offset, the checksum of the batch before it, the payload's length; a CRC-32C over all comes last."""
_CRC_BYTES: Final = 4


def snapshot_path(folder: Path, offset: int) -> Path:
    return folder / f"{offset:020d}{SUFFIX}"


class StateSnapshots:
    """The snapshots in one partition's folder."""

    def __init__(self, folder: Path, offsets: Iterable[int]) -> None:
        self._folder = folder
        self.offsets = set(offsets)

    def save(self, offset: int, last_crc: int, payload: bytes) -> None:
        """Keep the state before ``offset``. ``last_crc`` is the checksum of the batch that ends there."""
        head = _HEADER.pack(_MAGIC, offset, last_crc, len(payload))
        crc = crc32c(payload, crc32c(head)).to_bytes(_CRC_BYTES, "little")
        replace_file(snapshot_path(self._folder, offset), [head, payload, crc])
        self.offsets.add(offset)

    def load(self, offset: int, last_crc: int | None) -> bytes | None:
        """The state before ``offset``; None if there is none that verifies and belongs behind that batch."""
        if offset not in self.offsets:
            return None
        raw = snapshot_path(self._folder, offset).read_bytes()
        found = read_snapshot(raw)
        if found is None or found[0] != offset or (last_crc is not None and found[1] != last_crc):
            return None
        return found[2]

    def sync(self, offset: int) -> bool:
        """Bring the one at ``offset`` to the disk; False if there is none."""
        if offset not in self.offsets:
            return False
        fd = os.open(snapshot_path(self._folder, offset), os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fdatasync(fd)
        finally:
            os.close(fd)
        return True

    def remove(self, offset: int) -> None:
        """Remove the one at ``offset``, if there is one."""
        self.offsets.discard(offset)
        snapshot_path(self._folder, offset).unlink(missing_ok=True)

    def keep_only(self, wanted: Iterable[int]) -> None:
        """Remove all others: a snapshot behind a cut of the log would be one of another history."""
        for offset in self.offsets - set(wanted):
            self.remove(offset)


def read_snapshot(raw: bytes) -> tuple[int, int, bytes] | None:
    """Offset, checksum of the batch before it, and payload; None if the bytes do not verify."""
    if len(raw) < _HEADER.size + _CRC_BYTES:
        return None
    magic, offset, last_crc, length = _HEADER.unpack_from(raw)
    if magic != _MAGIC or len(raw) != _HEADER.size + length + _CRC_BYTES:
        return None
    if crc32c(raw[:-_CRC_BYTES]) != int.from_bytes(raw[-_CRC_BYTES:], "little"):
        return None
    return offset, last_crc, raw[_HEADER.size : -_CRC_BYTES]
