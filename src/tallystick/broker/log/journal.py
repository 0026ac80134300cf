"""The journal: an append-only file of typed records, each framed and checksummed.

Owns: frames (length, CRC-32C, JSON by msgspec), replay, the cut of a torn tail, compaction to a snapshot. Must not
know: what a record means.

A frame that does not verify and has no valid frame behind it is a torn write: it is cut off. With a valid frame behind
it, it is damage, and that is reported (``CorruptData``), never skipped.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec
from crc32c import crc32c

from tallystick.broker.limits import MAX_JOURNAL_RECORD_BYTES
from tallystick.broker.log.durability import Durability, SyncedFile, sync_folder
from tallystick.broker.log.files import append_all, open_for_append
from tallystick.broker.log.torn_tail import TornTail
from tallystick.broker.ports import JournalRecord
from tallystick.errors import CorruptData, TallystickError

R = TypeVar("R", bound=JournalRecord)

_FRAME: Final = struct.Struct(">II")
_SHORTEST_PAYLOAD: Final = 2
COMPACT_ABOVE_BYTES: Final = 1024 * 1024


class FileJournal(Generic[R]):
    """One journal file. ``record_type`` is the union of the records in it; ``replay`` must run before ``append``."""

    def __init__(self, path: Path, record_type: Any, durability: Durability) -> None:
        self.path = path
        self.torn: TornTail | None = None
        self.record_count = 0
        self._decoder: msgspec.json.Decoder[R] = msgspec.json.Decoder(record_type)
        self._encoder = msgspec.json.Encoder()
        self._durability = durability
        self._file = SyncedFile(open_for_append(path))
        self._size_bytes = os.fstat(self._file.fd).st_size
        self._last_at = self._size_bytes
        self._replayed = False

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    def replay(self) -> Iterator[R]:
        """Every record in order. A torn tail is cut; ``torn`` tells it."""
        data = os.pread(self._file.fd, self._size_bytes, 0) if self._size_bytes else b""
        position = 0
        while position < len(data):
            payload = _payload_at(data, position)
            if payload is None:
                self._cut(data, position)
                break
            yield self._decode(payload, position)
            self.record_count += 1
            position += _FRAME.size + len(payload)
        self._replayed = True

    def _decode(self, payload: bytes, position: int) -> R:
        try:
            return self._decoder.decode(payload)
        except msgspec.MsgspecError as error:
            raise CorruptData(
                f"a journal record does not decode: {error}", place=f"{self.path}, byte {position}"
            ) from error

    def _cut(self, data: bytes, position: int) -> None:
        later = _next_frame(data, position)
        if later is not None:
            raise CorruptData(
                f"a frame does not verify, yet a valid one follows at byte {later}: this is damage, no torn write",
                place=f"{self.path}, byte {position}",
            )
        os.ftruncate(self._file.fd, position)
        os.fsync(self._file.fd)
        self._size_bytes = position
        self.torn = TornTail(str(self.path), position, len(data) - position, "the last frame is not whole")

    def append(self, record: R) -> None:
        """Write one record to the operating system; ``OSError`` with nothing written if the disk is full.

        A record that is too large to be read back is ``OSError`` EMSGSIZE.
        """
        if not self._replayed:
            raise TallystickError(f"{self.path} is appended to before it was replayed")
        frame = self._frame(record)
        self._durability.will_write(len(frame))
        self._last_at = self._size_bytes
        self._size_bytes += append_all(self._file.fd, [frame], end=self._size_bytes)
        self.record_count += 1
        self._durability.wrote(self._file, self.record_count)

    def take_back(self) -> None:
        """Cut off the record that was appended last."""
        os.ftruncate(self._file.fd, self._last_at)
        self._size_bytes = self._last_at
        self.record_count -= 1

    def sync_now(self) -> None:
        """Under a syncing policy: everything appended is on disk when this returns."""
        self._durability.sync_now(self._file)

    def _frame(self, record: R) -> bytes:
        payload = self._encoder.encode(record)
        if len(payload) > MAX_JOURNAL_RECORD_BYTES:
            # As if the disk did not take it: whoever appends must be ready for that, and for nothing else.
            raise OSError(
                errno.EMSGSIZE, f"a journal record of {len(payload)} bytes; {MAX_JOURNAL_RECORD_BYTES} are allowed"
            )
        return _FRAME.pack(len(payload), crc32c(payload)) + payload

    def compact(self, snapshot: Iterable[R]) -> None:
        """Replace the file by these records, atomically: a crash leaves the old journal or the new one."""
        fresh = self.path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        fd = open_for_append(fresh)
        size = count = 0
        try:
            for record in snapshot:
                size += append_all(fd, [self._frame(record)], end=size)
                count += 1
            os.fsync(fd)
        except BaseException:
            os.close(fd)
            fresh.unlink(missing_ok=True)
            raise
        fresh.replace(self.path)
        sync_folder(self.path.parent)
        self._durability.retire(self._file)
        self._file = SyncedFile(fd)
        self._size_bytes, self.record_count = size, count

    def close(self) -> None:
        """Close the file; nothing is written any more."""
        self._durability.retire(self._file)


class JournalDamage(NamedTuple):
    """Bytes of a journal that are no frame; ``next_frame`` is where a whole one follows, None at a torn end."""

    position: int
    next_frame: int | None
    reason: str


def read_journal(path: Path, record_type: Any) -> Iterator[tuple[int, Any] | JournalDamage]:
    """Every record with its position, and what does not verify, without changing the file."""
    decoder = msgspec.json.Decoder(record_type)
    data = path.read_bytes()
    position = 0
    while position < len(data):
        payload = _payload_at(data, position)
        if payload is None:
            following = _next_frame(data, position)
            yield JournalDamage(position, following, "the frame is not whole")
            position = len(data) if following is None else following
            continue
        try:
            yield position, decoder.decode(payload)
        except msgspec.MsgspecError as error:
            yield JournalDamage(position, position + _FRAME.size + len(payload), f"it does not decode: {error}")
        position += _FRAME.size + len(payload)


def _next_frame(data: bytes, position: int) -> int | None:
    later = range(position + 1, len(data) - _FRAME.size)
    return next((at for at in later if _payload_at(data, at) is not None), None)


def _payload_at(data: bytes, position: int) -> bytes | None:
    if position + _FRAME.size > len(data):
        return None
    length, crc = _FRAME.unpack_from(data, position)
    start = position + _FRAME.size
    if not _SHORTEST_PAYLOAD <= length <= MAX_JOURNAL_RECORD_BYTES or start + length > len(data):
        return None
    payload = data[start : start + length]
    return payload if crc32c(payload) == crc else None
