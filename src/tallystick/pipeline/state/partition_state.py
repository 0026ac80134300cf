"""All stores of a step for one partition number: what a transaction does to them, and when the file follows.

Owns: ``PartitionState``. Must not know: Kafka's client, who polls, other partitions.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from tallystick.clock import Clock
from tallystick.errors import ConfigurationError
from tallystick.ids import EventId
from tallystick.killpoints import reach
from tallystick.pipeline.records import Output
from tallystick.pipeline.state.changelogs import Changelog
from tallystick.pipeline.state.layers import Entry, Journal, Layers
from tallystick.pipeline.state.local_file import AFTER_FLUSH, BEFORE_FLUSH, LocalFile, Mark, Proof
from tallystick.pipeline.state.store import AnyStore
from tallystick.pipeline.state.view import StateView

PROOF_HEADER: Final = "tallystick-state"
"""On the last changelog record of a transaction in its partition: bytes that no other record has. Frozen."""

FLUSH_ENTRIES: Final = 20_000
FLUSH_INTERVAL_MS: Final = 1_000
"""The file follows when so much is committed and not written, or so long after it was written last."""


class PartitionState:
    """Used by one thread at a time: the restorer's, then the lane's. The polling thread closes it."""

    def __init__(self, number: int, changelogs: Iterable[Changelog], path: Path, *, clock: Clock, nonce: bytes) -> None:
        """``nonce``: bytes that no other object has, in this process or another. Tokens begin with them."""
        self.number = number
        self.changelogs = tuple(changelogs)
        self._clock = clock
        self._nonce = nonce
        self._tokens = 0
        self._pending: dict[str, bytes] = {}
        self.late = 0
        """Events of the open transaction that were left out because their windows are closed."""
        self.duplicates = 0
        """Events of the open transaction that were processed before."""
        self._lock = threading.RLock()  # between a lane that commits and the polling thread that closes
        self._file = LocalFile(path, {one.store.name: one.store.timed for one in self.changelogs})
        self._marks: dict[str, Mark] = {}
        self._last_flush_ms = clock.monotonic_ms()
        self.journal = Journal()
        self.keep: Callable[[EventId], None] = self.journal.keep
        """What the record changed is the transaction's; the event id is the record's."""
        self.undo: Callable[[], None] = self.journal.undo
        """As if the record had not been."""
        self._layers = {one.store.name: self._new_layers(one.store) for one in self.changelogs}
        self._all = tuple(self._layers.values())
        self.views: dict[AnyStore, StateView[Any, Any]] = {
            one.store: StateView(one.store, self._layers[one.store.name])
            for one in self.changelogs
            if not one.store.timed
        }
        self.closed = False
        for name in self._layers:
            if mark := self._file.mark(name):
                self._marks[name] = mark

    def _new_layers(self, store: AnyStore) -> Layers:
        return Layers(
            store.name, self._file.base(store.name), timed=store.timed, journal=self.journal, flush=self._flush
        )

    # -- a record, between ``journal.begin`` and ``keep`` or ``undo``

    def count_late(self) -> None:
        self.late += 1

    def count_duplicate(self) -> None:
        self.duplicates += 1

    def view(self, store: AnyStore) -> StateView[Any, Any]:
        """The store as a function sees it; ``ConfigurationError`` if the step does not declare it."""
        try:
            return self.views[store]
        except KeyError:
            raise ConfigurationError(
                f"the step does not declare {store} as keyed state", remedy="Name it in state=[...] of the step"
            ) from None

    def layers(self, store: AnyStore) -> Layers:
        return self._layers[store.name]

    # -- a transaction

    def changes(self) -> Iterator[Output]:
        """The changelog records of the open transaction; the last one of each store carries a token."""
        for one in self.changelogs:
            name, topic, number = one.store.name, one.topic, self.number
            last: tuple[bytes, bytes | None, EventId] | None = None
            for entry in self._layers[name].changes():
                if last is not None:
                    yield Output(topic, last[0], last[1], last[2], (), number)
                last = entry
            if last is not None:
                self._tokens += 1
                token = self._pending[name] = self._nonce + self._tokens.to_bytes(8, "big")
                yield Output(topic, last[0], last[1], last[2], ((PROOF_HEADER, token),), number)

    def commit(self, delivered: Mapping[tuple[str, int], int]) -> bool:
        """Kafka committed the changes; ``delivered`` is the offset of the last record of each changelog partition.

        False if one is not told: then the state has to be read from the changelog.
        """
        with self._lock:
            whole = True
            for one in self.changelogs:
                token = self._pending.pop(one.store.name, None)
                if token is None or self.closed:
                    continue  # closed: the file stays where it is, and whoever opens it next goes on from there
                offset = delivered.get((one.topic, self.number))
                if offset is None:
                    whole = False
                    continue
                self._layers[one.store.name].commit()
                mark = self._marks[one.store.name]
                self._marks[one.store.name] = Mark(mark.origin, offset + 1, Proof(offset, token), mark.written_ms)
            if whole and self._is_flush_due():
                self._flush()
            return whole

    def drop(self) -> None:
        """The transaction was aborted, or how it ended is not known: what is committed stays."""
        self._pending.clear()
        self.late = self.duplicates = 0
        self.journal.undo()
        for one in self._all:
            one.drop()

    # -- reading the changelog

    def mark(self, store: AnyStore) -> Mark | None:
        """What the store is the state of; None if it is empty."""
        return self._marks.get(store.name)

    def settle(self) -> None:
        """Before anything is applied: the memory is as the file is."""
        with self._lock:
            self._flush()
            self.journal.undo()
            for one in self._all:
                one.forget()

    def clear(self, store: AnyStore) -> None:
        """Empty the store, which is to be read from its changelog's beginning."""
        with self._lock:
            if not self.closed:
                self._file.clear(store.name)
                self._marks.pop(store.name, None)

    def apply(self, store: AnyStore, entries: Sequence[Entry], mark: Mark) -> None:
        """Entries read from the changelog, and what the store is the state of then."""
        with self._lock:
            if not self.closed:
                mark = msgspec.structs.replace(mark, written_ms=self._clock.now_ms())
                self._file.write([(store.name, dict(entries).items(), mark)])
                self._marks[store.name] = mark

    def close(self) -> None:
        """Let go of the file, with all in it that Kafka committed. Safe beside a lane that is late."""
        with self._lock:
            if self.closed:
                return
            self._flush()
            self.closed = True
            for one in self._all:
                one.closed = True
            self._file.close()

    # -- the file

    def _is_flush_due(self) -> bool:
        dirty = sum(one.dirty_count for one in self._all)
        late = self._clock.monotonic_ms() - self._last_flush_ms >= FLUSH_INTERVAL_MS
        return dirty >= FLUSH_ENTRIES or (late and dirty > 0)

    def _flush(self) -> None:
        """Write what is committed, with its positions, in one transaction of the file (rule 24)."""
        with self._lock:
            if not self.closed:
                self._write_dirty()

    def _write_dirty(self) -> None:
        self._last_flush_ms = self._clock.monotonic_ms()
        dirty = [(name, one.dirty()) for name, one in self._layers.items() if one.dirty_count]
        if not dirty:
            return
        reach(BEFORE_FLUSH)
        now_ms = self._clock.now_ms()
        for name, _ in dirty:
            self._marks[name] = msgspec.structs.replace(self._marks[name], written_ms=now_ms)
        self._file.write([(name, entries, self._marks[name]) for name, entries in dirty])
        for one in self._all:
            one.flushed()
        reach(AFTER_FLUSH)
