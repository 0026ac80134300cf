"""Records on disk, in parts: a part comes back in the order in which it was put, and only one is in memory at a time.

Owns: the file, its blocks, and which part an event belongs to. Must not know: what is right.
"""

from __future__ import annotations

import tempfile
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

import msgspec

from tallystick.verify.ticks import account_number

PARTS: Final = 64
"""Of a million events a part has 16,000, which the checkers hold in about 30 MiB."""
BLOCK_RECORDS: Final = 128
_LEVEL: Final = 1

Record = TypeVar("Record")


def part_of(identity: str, *, accounts: int) -> int:
    """The part of all that is named by an event: its identity begins with the event's id.

    All events of one account are in one part, so that no invariant of events or of keys reaches over two parts. A
    record with another name is in some part, always the same one.
    """
    try:
        number = account_number(identity, accounts=accounts)
    except ValueError:
        number = zlib.crc32(identity.encode())
    return number % PARTS


class Shelf(Generic[Record]):
    """``of`` is a type that MessagePack can write and read. One thread puts while another may take.

    The file is without a name: it is gone with the process, however that ends.
    """

    def __init__(self, of: type[Record], folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by close
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[list[Record]] = msgspec.msgpack.Decoder(list[of])  # type: ignore[valid-type]
        self._filling: list[list[Record]] = [[] for _ in range(PARTS)]
        self._blocks: list[list[tuple[int, int]]] = [[] for _ in range(PARTS)]
        self._end = 0
        self._lock = threading.Lock()
        self.count = 0

    def put(self, part: int, record: Record) -> None:
        with self._lock:
            filling = self._filling[part]
            filling.append(record)
            self.count += 1
            if len(filling) >= BLOCK_RECORDS:
                self._write(part)

    def part(self, number: int) -> Iterator[Record]:
        """All of one part that has been put so far, in the order of ``put``."""
        with self._lock:
            blocks, newest = tuple(self._blocks[number]), tuple(self._filling[number])
        for at, length in blocks:
            with self._lock:
                self._file.seek(at)
                block = self._file.read(length)
            yield from self._decoder.decode(zlib.decompress(block))
        yield from newest

    def _write(self, part: int) -> None:
        block = zlib.compress(self._encoder.encode(self._filling[part]), _LEVEL)
        self._file.seek(self._end)
        self._file.write(block)
        self._blocks[part].append((self._end, len(block)))
        self._end += len(block)
        self._filling[part] = []

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
