"""One store in one partition, in layers: what the open transaction changed, what lies committed in memory, the file.

Owns: ``Layers``: what a read sees, and which layer an abort or a failing record takes away. Must not know: Kafka, files
beyond the port ``Base``.

::

    Journal                what a record overwrote, if it fails
    transaction            what the open transaction changed
    committed              read from the file, or committed and not written to it yet ("dirty")
    Base                   the local file: committed only
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Protocol

from tallystick.errors import AbortableError, IllegalTransition
from tallystick.ids import EventId

Entry = tuple[bytes, bytes | None]

MAX_COMMITTED_ENTRIES: Final = 100_000
"""In memory, for each store and partition; then what is dirty is written and the memory is emptied."""

TIME_BYTES: Final = 8
_ABSENT: Final[Any] = object()


class Base(Protocol):
    """What lies in the file, for one store; all of it committed in Kafka."""

    def get(self, key: bytes) -> bytes | None: ...

    def scan(self, start: bytes, end: bytes | None) -> Iterable[tuple[bytes, bytes]]:
        """Entries with ``start <= key < end`` in the order of their keys; ``end`` None is the end."""
        ...

    def due(self, time: int, limit: int) -> Iterable[tuple[bytes, bytes]]:
        """Entries of a timed store whose time is ``time`` or before, the oldest first, up to ``limit``."""
        ...

    def first_time(self) -> int | None:
        """The oldest time in a timed store, None if it is empty."""
        ...


def end_of(prefix: bytes) -> bytes | None:
    """The first key after all keys with this prefix; None if there is no such key."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else None


def time_of(value: bytes) -> int:
    """The time that a value of a timed store begins with."""
    return int.from_bytes(value[:TIME_BYTES], "big", signed=True)


class Journal:
    """What the record that is being processed changed, in all stores of its partition."""

    __slots__ = ("changes", "is_open")

    def __init__(self) -> None:
        self.changes: list[tuple[Layers, bytes, Any]] = []
        """Store, key, and what the transaction had under it before."""
        self.is_open = False

    def begin(self) -> None:
        self.is_open = True

    def keep(self, event_id: EventId) -> None:
        """The record is processed: its changes are the transaction's."""
        self.is_open = False
        if self.changes:
            for layers, key, _ in self.changes:
                layers.writers[key] = event_id
            self.changes.clear()

    def undo(self) -> None:
        """The record failed: as if it had not been."""
        self.is_open = False
        for layers, key, before in reversed(self.changes):
            layers.take_back(key, before)
        self.changes.clear()


class Layers:
    """Reads and writes of one thread; writes while the journal is open."""

    def __init__(self, name: str, base: Base, *, timed: bool, journal: Journal, flush: Callable[[], None]) -> None:
        """``flush`` writes what is dirty, of this store and its neighbours, and calls ``flushed``."""
        self.name = name
        self._journal = journal
        self._base = base
        self._timed = timed
        self._flush = flush
        self._transaction: dict[bytes, bytes | None] = {}
        self.writers: dict[bytes, EventId] = {}
        """Of what the open transaction changed: the event that did it last. The journal writes it."""
        self._committed: dict[bytes, bytes | None] = {}
        self._dirty: set[bytes] = set()
        self._next_due: int | None = None
        """No entry is due before this time; None if that is not known."""
        self.closed = False

    # -- reads

    def get(self, key: bytes) -> bytes | None:
        found: bytes | None = self._transaction.get(key, _ABSENT)
        if found is not _ABSENT:
            return found
        found = self._committed.get(key, _ABSENT)
        if found is not _ABSENT:
            return found
        self._usable()
        found = self._base.get(key)
        self._room()
        self._committed[key] = found
        return found

    def scan(self, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """Entries in the order of their keys, as of this call: what is changed during it is not seen.

        It costs what there is in the range, and a look at everything that the open transaction changed.
        """
        self._usable()
        self._flush()
        changed = self._transaction
        mine = {key: value for key, value in changed.items() if start <= key and (end is None or key < end)}
        entries = {key: value for key, value in self._base.scan(start, end) if key not in mine}
        entries |= {key: value for key, value in mine.items() if value is not None}
        return iter(sorted(entries.items()))

    def due(self, time: int, limit: int) -> list[tuple[bytes, bytes]]:
        """Entries of a timed store that are due at ``time``, the oldest first, at most ``limit``.

        Free while nothing is due.
        """
        if self._next_due is not None and time < self._next_due:
            return []
        self._usable()
        self._flush()
        changed = self._transaction
        found = [(key, value) for key, value in self._base.due(time, limit + len(changed)) if key not in changed]
        found += [(key, value) for key, value in changed.items() if value is not None and time_of(value) <= time]
        found.sort(key=lambda entry: (time_of(entry[1]), entry[0]))
        if not found:
            self._next_due = self._earliest()
        return found[:limit]

    # -- writes

    def set(self, key: bytes, value: bytes | None) -> None:
        """None deletes. ``IllegalTransition`` outside the processing of a record."""
        journal = self._journal
        if not journal.is_open:
            raise IllegalTransition(f"store {self.name!r}", "no record is being processed", "a change")
        changed = self._transaction
        journal.changes.append((self, key, changed.get(key, _ABSENT)))
        changed[key] = value
        if self._timed and value is not None and self._next_due is not None:
            self._next_due = min(self._next_due, time_of(value))

    # -- the journal

    def take_back(self, key: bytes, before: Any) -> None:
        """The change of ``key`` does not stay."""
        if before is _ABSENT:
            del self._transaction[key]
        else:
            self._transaction[key] = before
        self._next_due = None

    # -- a transaction

    def changes(self) -> Iterator[tuple[bytes, bytes | None, EventId]]:
        """The last value of each key that the transaction changed, and the event that did it last."""
        writers = self.writers
        return ((key, value, writers[key]) for key, value in self._transaction.items())

    def commit(self) -> None:
        """Kafka committed what ``changes`` gave."""
        if not self._transaction:
            return
        self._room()
        self._committed.update(self._transaction)
        self._dirty.update(self._transaction)
        self._transaction = {}
        self.writers = {}

    def drop(self) -> None:
        """The transaction was aborted."""
        if self._transaction:
            self._transaction = {}
            self.writers = {}
            self._next_due = None

    # -- the file

    @property
    def dirty_count(self) -> int:
        return len(self._dirty)

    def dirty(self) -> list[Entry]:
        """What is committed and not in the file yet."""
        committed = self._committed
        return [(key, committed[key]) for key in self._dirty]

    def flushed(self) -> None:
        self._dirty.clear()

    def forget(self) -> None:
        """The file is about to change under us, and nothing is dirty."""
        self.drop()
        self._committed.clear()
        self._dirty.clear()
        self._next_due = None

    def _room(self) -> None:
        if len(self._committed) >= MAX_COMMITTED_ENTRIES:
            self._flush()
            self._committed.clear()

    def _earliest(self) -> int | None:
        times = [time_of(value) for value in self._transaction.values() if value is not None]
        first = self._base.first_time()
        if first is not None:
            times.append(first)
        return min(times, default=_NEVER)

    def _usable(self) -> None:
        if self.closed:
            raise AbortableError(f"the partition of store {self.name!r} is not ours any more")


_NEVER: Final = (1 << 63) - 1
